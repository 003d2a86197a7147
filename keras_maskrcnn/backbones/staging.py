"""Names the stages of a backbone, for freezing and for messages."""

from collections.abc import Mapping

import keras

from keras_maskrcnn.backbones import maps
from keras_maskrcnn.layers.conv import ConvNorm


def stages_of(backbone: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Divides a backbone's layers into stages by the strides of its maps.

    Args:
        backbone: functional Keras model whose output is a dict of maps "c2".."c5".

    Returns:
        dict from "stem" and the names of the maps to lists of layers with weights. "stem" leads to
            the last map of stride 2, "c2" from there to the map c2, and so on. A network of another
            form has no stages: {}.
    """
    outputs = getattr(backbone, "output", None)
    if not isinstance(outputs, Mapping) or not outputs or set(outputs) - set(maps.STRIDES):
        return {}
    names = sorted(outputs)
    alone = keras.Model(backbone.inputs, [outputs[name] for name in names])
    try:
        traced, _ = maps.trace_at(alone, backbone.inputs[0].shape[-1])
    except (TypeError, ValueError):  # an operation that tells no shape
        return {}
    found = maps.stages(traced, dict(zip(names, traced.outputs, strict=True)))
    layers: dict[str, list[keras.layers.Layer]] = {}
    for stage, numbers in found.items():
        operations = dict.fromkeys(traced.steps[number].operation for number in numbers)
        layers[stage] = [x for x in operations if getattr(x, "weights", None)]
    return layers


def stages_by_name(network: keras.Model) -> dict[str, list[keras.layers.Layer]]:
    """Divides a network's layers by the part of their names before the first "_".

    Args:
        network: functional Keras model.

    Returns:
        dict from this part, such as "res3", to a list of layers with weights.
    """
    layers: dict[str, list[keras.layers.Layer]] = {}
    for layer in network.layers:
        if layer.weights:
            layers.setdefault(layer.name.split("_")[0], []).append(layer)
    return layers


def has_our_layers(network: keras.Model) -> bool:
    """Returns whether a network is of our layers, whose names begin with their stage."""
    return any(isinstance(layer, ConvNorm) for layer in network.layers)
