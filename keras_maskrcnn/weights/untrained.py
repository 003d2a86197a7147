"""Finds layers that are not trained and still have their initial values."""

from collections.abc import Mapping

import keras
import numpy as np

from keras_maskrcnn.backbones.staging import has_our_layers, stages_by_name, stages_of
from keras_maskrcnn.layers.frozen_norm import FrozenBatchNorm
from keras_maskrcnn.layers.residual import LayerScale

# Initial values of a norm, or of the bias of a layer without one. Trained ones differ from them.
_FIRST = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0, "bias": 0.0}


def frozen_at_random(networks: Mapping[str, keras.Model]) -> tuple[list[str], list[str]]:
    """Finds frozen stages with random weights, and frozen batch norms that do nothing.

    Args:
        networks: dict of name to Keras model, `MaskRCNN.networks`.

    Returns:
        stages: list of str. Frozen stages as `training.freeze` names them: "backbone:stem", ...
        networks: list of str. Networks with trained convolutions whose batch norms are frozen at
            their initial values, the identity.
    """
    drawn: list[str] = []
    identities: list[str] = []
    for name, network in networks.items():
        norms = []
        stages = {} if has_our_layers(network) else stages_of(network)
        for stage, layers in (stages or stages_by_name(network)).items():
            fixed = [x for x in layers if isinstance(x, FrozenBatchNorm)]
            others = [x for x in layers if x not in fixed]
            frozen = [x for x in others if not x.trainable_weights]
            if others and frozen == others:  # the norms are fixed like all else in the stage
                frozen, fixed = layers, []
            if _as_drawn(frozen):
                drawn.append(f"{name}:{stage}")
            of_others = [x for x in others if getattr(x, "norm_name", "") == "frozen_batch"]
            norms += fixed + [x for x in of_others if x not in frozen]
        if _as_drawn(norms):
            identities.append(name)
    return drawn, identities


def advice(networks: Mapping[str, keras.Model]) -> str:
    """Says in one line what `frozen_at_random` finds and what to do; "" if it finds nothing."""
    stages, norms = frozen_at_random(networks)
    found = [f"{', '.join(stages)} are frozen with random weights"] if stages else []
    found += [f"the frozen batch norm of {', '.join(norms)} is the identity"] if norms else []
    if not found:
        return ""
    return (
        f"{', and '.join(found)}: no weights were loaded. Load weights with "
        'from_preset(..., weights="imagenet") or weights="coco", or train from scratch with '
        'frozen_stages=0 and norm="batch" or "group".'
    )


def _as_drawn(layers):
    """Returns whether all norms and biases that are not trained have their initial values."""
    values = [
        (np.asarray(v), _FIRST[v.name])
        for layer in layers
        if not isinstance(layer, LayerScale)  # its gamma begins near 0
        for v in layer.non_trainable_weights
        if v.name in _FIRST
    ]
    return bool(values) and all((value == first).all() for value, first in values)
