"""Starts a model from one that was trained before, with the same classes or with others."""

import os
import warnings

import keras
import numpy as np
from absl import logging

from keras_maskrcnn.data.class_names import plain_name
from keras_maskrcnn.typing import Path
from keras_maskrcnn.weights.checkpoint import CheckpointError, require_finite
from keras_maskrcnn.weights.load import PREDICTORS

# The last layers: their shapes follow from the classes, those of the RPN from the anchors.
_LAST = (*PREDICTORS, "rpn_head/logits", "rpn_head/deltas")
# What no shape tells, and what the weights were made for.
_MEANING = (
    "pixel_mean",
    "pixel_std",
    "stride_in_1x1",
    "stem_pool_same",
    "norm_epsilon",
    "anchor_ratios",
    "box_delta_weights",
)


def start_from(model: keras.Model, source: keras.Model | Path, name: str) -> list[str]:
    """Takes over the weights of a trained model; predictors that do not fit keep their own.

    The predictors are the last layers: class logits, box deltas and mask logits, whose shapes
    follow from the classes, and the RPN's, whose shapes follow from the anchors. Of a model whose
    class names are others those of the classes are left out too, even if their number is the same.

    Args:
        model: MaskRCNN.
        source: MaskRCNN, of which the networks that both have are taken; or the path of a
            .weights.h5 file, which must have all networks.
        name: str. What messages call the source.

    Returns:
        list of str, the arrays (or whole networks) that the source did not give.

    Raises:
        CheckpointError: if the file cannot be read, or another array than a predictor's is missing,
            has another shape, or is left over. The model is not changed then.
    """
    ours = {
        f"{network}/{variable.path}": variable
        for network, layers in model.networks.items()
        for variable in layers.weights
    }
    afresh = []
    if not isinstance(source, str | os.PathLike):
        shared = [network for network in model.networks if network in source.networks]
        afresh = [network for network in model.networks if network not in shared]
        ours = {key: v for key, v in ours.items() if key.split("/")[0] in shared}
        theirs = {
            f"{network}/{variable.path}": np.asarray(variable)
            for network in shared
            for variable in source.networks[network].weights
        }
        _warn_of_config(model.config, source.config, name)
        if _other_names(model.config, source.config):
            agnostic = model.config.class_agnostic_masks
            left_out = PREDICTORS[: 2 if agnostic else 3]
            theirs = {key: v for key, v in theirs.items() if not key.startswith(left_out)}
    else:
        theirs = _read_h5(model, ours, source)
    fitting = {key: v for key, v in ours.items() if theirs.get(key, _NONE).shape == v.shape}
    for key, variable in ours.items():
        if key not in fitting and not key.startswith(_LAST):
            found = f"of shape {theirs[key].shape}" if key in theirs else "missing"
            raise CheckpointError(
                f"{name} does not fit the model: only predictors may differ, for other classes. "
                f"Received: {key} {found}, expected shape {tuple(variable.shape)}."
            )
    left = [key for key in theirs if key not in ours and not key.startswith(_LAST)]
    if left:
        raise CheckpointError(
            f"{name} does not fit the model: only predictors may differ, for other classes. "
            f"Received: {left[0]}, which the model has no place for."
        )
    for key in fitting:
        require_finite(name, key, theirs[key])
    for key, variable in fitting.items():
        variable.assign(theirs[key])
    return afresh + [key for key in ours if key not in fitting]


_NONE = np.zeros([0])


def _read_h5(model, ours, path):
    """The arrays of a .weights.h5 file by our names; those that it does not have are left out.

    Keras finds the file's arrays for our layers, but does not tell which it found: those that
    differ from a NaN that was there before. The model is not changed.
    """
    before = {key: np.asarray(variable) for key, variable in ours.items()}
    try:
        for variable in ours.values():
            variable.assign(np.full(variable.shape, np.nan))
        with warnings.catch_warnings():  # of what does not fit, which we name
            warnings.simplefilter("ignore")
            model.load_weights(path, skip_mismatch=True)
        found = {key: np.asarray(variable) for key, variable in ours.items()}
    except Exception as error:  # Keras and h5py raise many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as weights of Keras: {reason}") from error
    finally:
        for key, variable in ours.items():
            variable.assign(before[key])
    return {key: value for key, value in found.items() if not np.isnan(value).all()}


def _other_names(ours, theirs):
    """Whether two configs name different classes."""
    names = [[plain_name(name) for name in config.class_names] for config in (ours, theirs)]
    return all(names) and names[0] != names[1]


def _warn_of_config(ours, theirs, name):
    for field in _MEANING:
        if getattr(ours, field) != getattr(theirs, field):
            logging.warning(
                "%s was trained with another %s, which its weights depend on. Received: %s=%r, "
                "not %r.",
                name,
                field,
                field,
                getattr(ours, field),
                getattr(theirs, field),
            )
