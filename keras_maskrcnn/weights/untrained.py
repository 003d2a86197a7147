"""Finds what will never be trained, and was never loaded."""

from collections.abc import Mapping

import keras
import numpy as np

# What a norm, or the bias in place of one, begins with; none that was trained has these values.
_FIRST = {"gamma": 1.0, "beta": 0.0, "moving_mean": 0.0, "moving_variance": 1.0, "bias": 0.0}


def frozen_at_random(networks: Mapping[str, keras.Model]) -> tuple[list[str], list[str]]:
    """Finds stages that are frozen as they were drawn, and fixed batch norms that do nothing.

    Args:
        networks: dict of name to Keras model, `MaskRCNN.networks`.

    Returns:
        list of str, frozen stages as `training.freeze` names them, for instance "backbone:stem".
        list of str, networks with trained convolutions and fixed norms, those being the identity.
    """
    stages: dict[str, bool] = {}
    norms: dict[str, bool] = {}
    for name, network in networks.items():
        for layer in network.layers:
            frozen = not layer.trainable_weights
            first = [v for v in layer.non_trainable_weights if v.name in _FIRST]
            if not first or not (frozen or getattr(layer, "norm_name", "") == "frozen_batch"):
                continue
            found, key = norms, name
            if frozen:
                found, key = stages, f"{name}:{layer.name.split('_')[0]}"
            found[key] = found.get(key, True) and all(
                (np.asarray(v) == _FIRST[v.name]).all() for v in first
            )
    drawn, identities = (
        [key for key, random in found.items() if random] for found in (stages, norms)
    )
    return drawn, identities


def advice(networks: Mapping[str, keras.Model]) -> str:
    """Says in one line what `frozen_at_random` finds and what to do; empty if that is nothing."""
    stages, norms = frozen_at_random(networks)
    found = [f"{', '.join(stages)} are frozen as they were drawn at random"] if stages else []
    found += [f"the fixed batch norm of {', '.join(norms)} is the identity"] if norms else []
    if not found:
        return ""
    return (
        f"{', and '.join(found)}: no weights were loaded. Load some, with "
        'from_preset(..., weights="imagenet") or "coco"; or train from scratch with '
        'frozen_stages=0 and norm="batch" or "group".'
    )
