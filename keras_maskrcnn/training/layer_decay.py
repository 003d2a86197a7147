"""Learning rates that fall from the output of the backbone to its input (Clark et al., 2020)."""

import re

import keras

from keras_maskrcnn.model import MaskRCNN

_BLOCK = re.compile(r"transformer(\d+)_")


def depths_of(model: MaskRCNN) -> tuple[dict[int, int], int]:
    """Numbers the trained variables of the backbone by their depth.

    In a transformer of ours, block i has the depth i + 1, and what comes before block 0 has 0. A
    layer between two blocks counts to the first of them. Any other backbone has one depth per
    stage: all that leads to its first map, "c2" or a coarser one, has 0, what else leads to the
    next map has 1, and so on.

    Args:
        model: MaskRCNN.

    Returns:
        depths: dict from the id of a `keras.Variable` to its depth.
        outside: int. The depth of all other variables, those of neck and heads.
    """
    layers = _by_block(model.backbone) or _by_stage(model.backbone)
    found = {id(v): depth for layer, depth in layers for v in layer.trainable_variables}
    return found, 1 + max(depth for _, depth in layers)


def _by_block(backbone):
    """Returns a list of (layer, depth); an empty one if the backbone is no transformer."""
    found, last = [], -1
    for layer in backbone.layers:
        match = _BLOCK.match(layer.name)
        last = max(last, int(match[1])) if match else last
        found.append((layer, 1 + (int(match[1]) if match else last)))
    return found if last >= 0 else []


def _by_stage(backbone):
    found: dict[int, tuple[keras.layers.Layer, int]] = {}
    for depth, name in enumerate(sorted(backbone.output)):
        # The layers of this smaller model are those that the map depends on.
        for layer in keras.Model(backbone.input, backbone.output[name]).layers:
            found.setdefault(id(layer), (layer, depth))
    return list(found.values())
