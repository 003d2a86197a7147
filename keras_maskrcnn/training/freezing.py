"""Freezing: networks, or stages of networks, that keep their weights in training."""

from collections.abc import Iterable

from keras_maskrcnn.backbones.staging import has_our_layers, stages_by_name, stages_of
from keras_maskrcnn.model import MaskRCNN


def freeze(model: MaskRCNN, names: Iterable[str]) -> None:
    """Makes networks, or stages of networks, keep their weights. Call it before `compile`.

    Args:
        model: MaskRCNN.
        names: sequence of str. A network, as in `networks.NETWORKS` or as added by a stage of
            yours; or a stage of a network. The stages of a backbone are "backbone:stem",
            "backbone:c2" and so on: what leads to the last map of stride 2, from there to the map
            c2, and so on. Else a stage is all layers whose names have this part before the first
            "_", such as "backbone:res3". Networks that this model lacks are ignored.

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
        found = model.networks[network]
        layers = _stage(found, network, stage, name) if stage else [found]
        for layer in layers:
            layer.trainable = False


def _stage(network, title, stage, name):
    """Returns the layers of a stage of a network."""
    by_stride, by_name = stages_of(network), stages_by_name(network)
    if stage in by_stride or stage in by_name:
        return by_stride.get(stage) or by_name.get(stage, [])
    # In other networks the names mean nothing, and there are many.
    known = {**by_name, **by_stride} if has_our_layers(network) else by_stride or by_name
    raise ValueError(f"stages of {title} are {', '.join(known)}. Received: freeze={name!r}.")
