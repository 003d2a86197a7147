"""Networks, or stages of them, that keep their weights in training."""

from collections.abc import Iterable
from typing import Any

from keras_maskrcnn.model import MaskRCNN


def freeze(model: MaskRCNN, names: Iterable[str]) -> None:
    """Makes networks, or stages of them, keep their weights; before `compile`.

    Args:
        model: MaskRCNN.
        names: sequence of str, of networks as in `networks.NETWORKS` and those that a stage of
            yours adds, or of a stage of a network, as in "backbone:res3": its layers whose names
            begin so, up to a "_". Networks that the model does not have are passed over.

    Raises:
        ValueError: if there is no such network or stage.
    """
    for name in names:
        network, _, stage = name.partition(":")
        if network not in model.network_names:
            known = ", ".join(model.network_names)
            raise ValueError(f"networks are {known}. Received: freeze={name!r}.")
        if network not in model.networks:
            continue
        stages: dict[str, Any] = {}
        for layer in model.networks[network].layers:
            if layer.weights:
                stages.setdefault(layer.name.split("_")[0], []).append(layer)
        if stage and stage not in stages:
            raise ValueError(
                f"stages of {network} are {', '.join(stages)}. Received: freeze={name!r}."
            )
        for layer in stages[stage] if stage else [model.networks[network]]:
            layer.trainable = False
