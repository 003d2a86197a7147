"""Loads a peer's checkpoint into a model, and reports what was done with each of its arrays."""

import dataclasses
import os
import re
from collections.abc import Callable

import keras
import numpy as np

from keras_maskrcnn.catalog import RGB
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import preset_config
from keras_maskrcnn.typing import Path
from keras_maskrcnn.weights import from_keras, names
from keras_maskrcnn.weights.bands import first_kernel, fit_kernel
from keras_maskrcnn.weights.checkpoint import CheckpointError, read_checkpoint, require_finite
from keras_maskrcnn.weights.public import coco_classes, download, download_imagenet
from keras_maskrcnn.weights.published import copy_backbone, is_from_keras, read_backbone
from keras_maskrcnn.weights.report import Report, some

BODY = ("backbone", "res5")  # the networks that an ImageNet classifier has weights for
PREDICTORS = ("box_head/class_logits", "box_head/box_deltas", "mask_head/logits")
_STD = {"torchvision": RGB[1]}  # what the others divide R, G and B by is equal
_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def load_torchvision(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a torchvision detector, or a torchvision or timm ResNet as the backbone.

    To give the same detections as torchvision, the model needs torchvision's conventions. The
    presets whose names end in `_torchvision` or `_torchvision_v2` have them.

    Args:
        model: MaskRCNN. Changed in place.
        path: str. A file that `read_checkpoint` reads.
        skip_predictors: bool. Whether to leave out the layers whose shapes depend on the classes.
        verbose: bool. Whether to print the report.

    Returns:
        `Report`.

    Raises:
        CheckpointError: if the file cannot be read, or does not fit. Then a variable has no array,
            or an array has another shape, is not finite, or is of no known use. The model is not
            changed.
    """
    return _load(model, path, "torchvision", skip_predictors, verbose)


def load_detectron2(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a detectron2 detector, or a detectron2 or Caffe2 ImageNet ResNet as the backbone.

    To give the same detections as detectron2, the model needs detectron2's conventions. The
    presets whose names end in `_detectron2` have them. Loading changes the first convolution from
    BGR to RGB, and moves the background class from last to first.

    Arguments, result and errors are those of `load_torchvision`.
    """
    return _load(model, path, "detectron2", skip_predictors, verbose)


def load_matterport(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a detector of Matterport's Mask_RCNN (Keras 2), or only its ResNet as the backbone.

    To give the same detections as Matterport, the model needs Matterport's conventions. The
    presets whose names end in `_matterport` have them. The file comes from `save_weights` or
    `save`. Loading folds the batch norm of the heads into their convolutions, and scales the RPN's
    deltas by Matterport's default RPN_BBOX_STD_DEV.

    Arguments, result and errors are those of `load_torchvision`.
    """
    return _load(model, path, "matterport", skip_predictors, verbose)


def load_keras_applications(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a network of keras.applications (ImageNet, with or without top) as the backbone.

    The file is a .h5 of Keras 1 or 2, or a .weights.h5 of Keras 3. ResNet-50 and -101 have their
    strides in 1x1 convolutions, and subtract the mean from pixels without dividing them. The config
    therefore needs stride_in_1x1=True, stem_pool_same=False, pixel_std=(1, 1, 1) and
    pixel_mean=(123.68, 116.779, 103.939). Loading changes the first convolution from BGR to RGB.

    Arguments, result and errors are those of `load_torchvision`; `skip_predictors` has no effect.

    Raises:
        ValueError: also if the config's stride_in_1x1, pixel_std or stem_pool_same do not fit.
            Shapes alone would not show it.
    """
    config = model.config
    if is_from_keras(config.backbone):
        matched = copy_backbone(model, read_backbone(config, path), path)
        return _report_backbone(model, matched, path, verbose)
    needed = {"stride_in_1x1": True, "pixel_std": (1.0,) * len(config.pixel_std)}
    needed["stem_pool_same"] = False
    for field, value in needed.items():
        if getattr(config, field) != value:
            raise ValueError(
                f"{field} must be {value} for weights of keras.applications. "
                f"Received: {field}={getattr(config, field)}."
            )
    return _load(model, path, "keras_applications", skip_predictors, verbose)


def peer_of(preset: str) -> str | None:
    """Returns the key of `LOADERS` whose checkpoints fit a preset, by its name; None if none do."""
    return next((peer for peer in LOADERS if f"_{peer}" in preset), None)


def load_for_preset(
    make: Callable[[MaskRCNNConfig], keras.Model],
    preset: str,
    config: MaskRCNNConfig,
    weights: Path,
    verbose: bool = True,
) -> keras.Model:
    """Builds a model and loads weights into it; see `MaskRCNN.from_preset`.

    Args:
        make: function from a config to a model.
        preset: str. Its name says which library's weights fit.
        config: `MaskRCNNConfig` of the preset, perhaps with fields replaced.
        weights: "coco", "imagenet" or a path.
        verbose: bool. Whether to print the report.

    Returns:
        The model.

    Raises:
        ValueError: if there are no such weights for this preset or backbone.
        CheckpointError: if the file cannot be downloaded or read, or does not fit.
    """
    if is_from_keras(config.backbone):
        if weights == "coco":
            raise ValueError(
                "weights must be 'imagenet' or a path for a backbone of Keras. "
                f"Received: preset={preset!r}, weights='coco'."
            )
        if weights != "imagenet":
            _require_path(weights, "'imagenet'")
        loaded = read_backbone(config, weights)
        model = make(config)
        _report_backbone(model, copy_backbone(model, loaded, weights), weights, verbose)
        return model
    if weights == "imagenet":
        path = download_imagenet(config.backbone)
        model = make(config)
        load_keras_applications(model, path, verbose=verbose)
        return model
    source = peer_of(preset)
    if source is None:
        raise ValueError(
            "weights must be 'imagenet' unless the preset's name ends in _torchvision, "
            "_torchvision_v2, _detectron2 or _matterport. Those take 'coco' and a path too. None "
            "makes random weights. "
            f"Received: preset={preset!r}, weights={weights!r}."
        )
    other_classes = config.num_classes != preset_config(preset).num_classes
    path = weights
    if weights == "coco":
        path = download(preset)
        classes = {} if other_classes else coco_classes(config.num_classes)
        if config.class_names:  # their number may be COCO's, but the names may differ
            other_classes |= config.class_names != classes.get("class_names")
        else:
            config = dataclasses.replace(config, **classes)
    else:
        _require_path(weights, "'coco', 'imagenet'")
    model = make(config)
    LOADERS[source](model, path, skip_predictors=other_classes, verbose=verbose)
    return model


LOADERS = {
    "torchvision": load_torchvision,
    "detectron2": load_detectron2,
    "matterport": load_matterport,
    "keras_applications": load_keras_applications,
}
"""Name of each source of checkpoints, and the function that loads them."""


def _require_path(weights, names):
    if not os.path.exists(weights):
        raise CheckpointError(
            f"weights must be {names} or the path of a checkpoint; None makes random weights. "
            f"There is no such file. Received: weights={str(weights)!r}."
        )


def _report_backbone(model, matched, weights, verbose):
    names = (
        f"{name}/{v.path}" for name, network in model.networks.items() for v in network.weights
    )
    report = Report(matched, {}, tuple(name for name in names if name not in matched))
    if verbose:
        print(f"{weights}\n{report}")
    return report


def _load(model, path, source, skip_predictors, verbose):
    arrays, only_backbone = _read(path, source, model.config.norm_epsilon)
    variables = {
        f"{network}/{variable.path}": variable
        for network, layers in model.networks.items()
        for variable in layers.weights
    }
    values, matched, missing, skipped, adapted = {}, {}, {}, {}, []
    for full_name, variable in variables.items():
        network, layer, *_ = full_name.split("/")
        if only_backbone and network not in BODY:
            continue
        layer = f"{network}/{layer}"
        key = _key(full_name, layer, source, arrays, only_backbone)
        if key not in arrays:
            missing[full_name] = key
        elif skip_predictors and layer in PREDICTORS:
            skipped[key] = "predictors, as asked"
        else:
            value = np.asarray(arrays[key], np.float32)
            if _from_torch(source):
                name = variable.path.split("/")[-1]
                value = _convert(value, layer, name, source, model.config.box_pool_size**2)
            if full_name == first_kernel(model):
                fitted = fit_kernel(value, variable.shape, _STD.get(source))
                adapted += [] if fitted is None else [full_name]
                value = value if fitted is None else fitted
            if value is None or value.shape != tuple(variable.shape):
                raise _wrong_shape(path, key, arrays[key], full_name, variable, layer)
            require_finite(path, key, value)
            values[full_name], matched[full_name] = value, key
    if missing:
        raise CheckpointError(
            f"{path} has no {some(missing.values())} for the model's {some(missing)}. Is it a "
            f"checkpoint of {source} with the preset's architecture?"
        )
    skipped |= _without_place(path, set(arrays) - set(matched.values()) - set(skipped))
    for name, value in values.items():
        variables[name].assign(value)
    left = tuple(name for name in variables if name not in matched)
    report = Report(matched, skipped, left, tuple(adapted))
    if verbose:
        print(f"{path}\n{report}")
    return report


def _from_torch(source):
    """Returns whether a peer's arrays have PyTorch's layout and names, and not Keras'."""
    return source not in from_keras.EPSILON


def _read(path, source, norm_epsilon):
    """Returns a checkpoint's dict of key to array, and whether it has only a backbone."""
    arrays = read_checkpoint(path)
    if _from_torch(source):
        backbone = names.rename_backbone(arrays, source)
        return (arrays, False) if backbone is None else (backbone, True)
    arrays = from_keras.our_weights(arrays, source, norm_epsilon)
    return arrays, not any(key.startswith("rpn_head/") for key in arrays)


def _key(full_name, layer, source, arrays, only_backbone):
    """Returns the key of one of our variables in a checkpoint."""
    if not _from_torch(source):
        return full_name.replace("res5/", "backbone/", 1) if only_backbone else full_name
    own, norm = names.peer_names(source, layer, arrays)
    return f"{norm if '/norm/' in full_name else own}.{_VARIABLES[full_name.split('/')[-1]]}"


def _without_place(path, keys):
    """Returns a dict from keys that no model needs to the reason why they can be skipped.

    Raises:
        CheckpointError: if there is no reason to skip one of the keys.
    """
    reasons, left = {}, []
    for key in keys:
        found = [text for pattern, text in names.IGNORED.items() if re.fullmatch(pattern, key)]
        if found:
            reasons[key] = found[0]
        else:
            left.append(key)
    if left:
        raise CheckpointError(
            f"{path} holds {some(sorted(left))}, which the model has no place for. Does the "
            "preset have the checkpoint's architecture?"
        )
    return reasons


def _convert(array, layer, name, source, cells):
    """Returns a PyTorch array in our layout; None if it does not fit.

    `cells` is the number of cells of a box RoI.
    """
    if layer in PREDICTORS:
        array = _classes(array, layer, source)
    if name == "kernel" and array.ndim == 4:
        # Right for transposed convolutions too: PyTorch has (in, out, ...), Keras (..., out, in).
        array = array.transpose(2, 3, 1, 0)
        if layer == "backbone/stem" and source == "detectron2":
            array = array[:, :, ::-1]  # BGR to RGB
    elif name == "kernel" and array.ndim == 2:
        units, count = array.shape
        if layer == "box_head/fc1":  # PyTorch flattens with the channels first
            if count % cells:
                return None
            array = array.reshape(units, count // cells, cells).transpose(2, 1, 0)
            array = array.reshape(count, units)
        else:
            array = array.T
    return array


def _classes(array, layer, source):
    """Puts a predictor's rows in our order: background first, and only in the class logits."""
    if source == "torchvision" and layer == "box_head/box_deltas":
        return array[4:]
    if source == "torchvision" and layer == "mask_head/logits":
        return array[1:]
    if source == "detectron2" and layer == "box_head/class_logits":
        return np.roll(array, 1, axis=0)
    return array


def _wrong_shape(path, key, array, name, variable, layer):
    hint = ""
    if layer in PREDICTORS:
        hint = " For another number of classes, leave out the predictors: skip_predictors=True."
    return CheckpointError(
        f"{path}: {key} has the shape {tuple(array.shape)}, which does not fit the model's {name} "
        f"of shape {tuple(variable.shape)}.{hint}"
    )
