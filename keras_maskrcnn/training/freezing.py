"""Freezing: networks, or stages of networks, that keep their weights in training."""

from collections.abc import Iterable
from typing import Any

from keras_maskrcnn.model import MaskRCNN


def freeze(model: MaskRCNN, names: Iterable[str]) -> None:
    """Makes networks, or stages of networks, keep their weights. Call it before `compile`.

    Args:
        model: MaskRCNN.
        names: sequence of str. A network, as in `networks.NETWORKS` or as added by a stage of
            yours; or a stage of a network, such as "backbone:res3". A stage is all layers whose
            names have this part before the first "_". Networks that this model lacks are ignored.

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
