"""Starts a model from one that was trained before, with the same classes or with others."""

import dataclasses
import os
import warnings

import keras
import numpy as np
from absl import logging

from keras_maskrcnn.data.class_names import plain_name
from keras_maskrcnn.typing import Path
from keras_maskrcnn.weights.bands import expected_numbers, first_kernel, fit_kernel
from keras_maskrcnn.weights.checkpoint import CheckpointError, require_finite, require_own_arrays
from keras_maskrcnn.weights.load import PREDICTORS

# The last layers. Their shapes depend on the classes; those of the RPN on the anchors.
_LAST = (*PREDICTORS, "rpn_head/logits", "rpn_head/deltas")
# Fields that the weights depend on, although no shape shows it.
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
    """Copies the weights of a trained model, except predictors that do not fit.

    The predictors are the last layers. The shapes of class logits, box deltas and mask logits
    depend on the classes, and those of the RPN's last layers on the anchors. If the two models name
    different classes, the predictors of the classes are not copied, even if their shapes fit.

    The first kernel of a model of RGB images is adapted to a model of other bands, see
    `layers.bands.adapt_kernel`. A warning names it.

    Args:
        model: MaskRCNN. Changed in place.
        source: MaskRCNN, or the path of a .weights.h5 file. Of a model, the networks that both
            have are copied; a file must have all networks.
        name: str. The source's name in messages.

    Returns:
        list of str, the arrays (or whole networks) that were not copied.

    Raises:
        CheckpointError: if the file cannot be read, or has values that are not finite. Also if an
            array outside the predictors is missing, has another shape, or has no place in the
            model. The model is then not changed.
    """
    ours = dict(_variables(model))
    afresh = []
    if not isinstance(source, str | os.PathLike):
        shared = [network for network in model.networks if network in source.networks]
        afresh = [network for network in model.networks if network not in shared]
        ours = {key: v for key, v in ours.items() if key.split("/")[0] in shared}
        theirs = {
            key: np.asarray(variable)
            for key, variable in _variables(source)
            if key.split("/")[0] in shared
        }
        _warn_of_config(model.config, source.config, name)
        if _other_names(model.config, source.config):
            agnostic = model.config.class_agnostic_masks
            left_out = PREDICTORS[: 2 if agnostic else 3]
            theirs = {key: v for key, v in theirs.items() if not key.startswith(left_out)}
    else:
        theirs = _read_h5(model, ours, source)
    _adapt_first_kernel(model, theirs, source, name)
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


def _adapt_first_kernel(model, theirs, source, name):
    """Replaces a first kernel of RGB images in `theirs` by one that fits the model."""
    key = first_kernel(model)
    if key is None:
        return
    shape = dict(_variables(model))[key].shape
    std = source.config.pixel_std if hasattr(source, "config") else None
    kernel = theirs.get(key)
    if kernel is None and std is None and "backbone" not in model.passed_in:
        kernel = _read_rgb_kernel(model, source, key)
    adapted = fit_kernel(kernel, shape, std)
    if adapted is not None:
        require_finite(name, key, kernel)
        theirs[key] = adapted
        logging.warning(
            "%s is of RGB images: its first kernel, %s, was adapted to %d bands.",
            name,
            key,
            shape[2],
        )


def _read_rgb_kernel(model, path, key):
    """Reads the first kernel from a .weights.h5 file of RGB images; None if there is none.

    Keras finds arrays by the layers of a model, so a model of RGB images is made for it.
    """
    rgb = {"in_channels": 3, "pixel_mean": (), "pixel_std": ()}
    twin = model.rebuilt(dataclasses.replace(model.config, **rgb))
    return _read_h5(twin, {key: dict(_variables(twin))[key]}, path).get(key)


def _variables(model):
    """Yields the names "network/path" of a model's variables, and the variables."""
    for network, layers in model.networks.items():
        yield from ((f"{network}/{variable.path}", variable) for variable in layers.weights)


def _read_h5(model, ours, path):
    """Reads a .weights.h5 file as a dict from our variables' names to arrays.

    Keras loads the arrays that fit our layers, but does not say which ones. To find out, all
    variables are first set to NaN: those that are still NaN after loading are not in the file. In
    the end the model has its old weights again.
    """
    before = {key: np.asarray(variable) for key, variable in ours.items()}
    try:
        require_own_arrays(path)
        for variable in ours.values():
            variable.assign(np.full(variable.shape, np.nan))
        with warnings.catch_warnings():  # Keras warns of arrays that do not fit; we report them
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
    """Returns whether both configs have class names, and these differ."""
    names = [[plain_name(name) for name in config.class_names] for config in (ours, theirs)]
    return all(names) and names[0] != names[1]


def _warn_of_config(ours, theirs, name):
    for field in _MEANING:
        their = getattr(theirs, field)
        if field in ("pixel_mean", "pixel_std"):
            their = expected_numbers(their, len(getattr(ours, field)))
        if getattr(ours, field) != their:
            logging.warning(
                "%s was trained with another %s, which its weights depend on. Received: %s=%r, "
                "not %r.",
                name,
                field,
                field,
                getattr(ours, field),
                their,
            )
