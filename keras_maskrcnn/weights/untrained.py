"""Finds layers that are not trained and still have their initial values."""

from collections.abc import Mapping

import keras
import numpy as np

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
