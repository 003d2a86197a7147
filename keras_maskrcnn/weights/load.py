"""Puts the arrays of a peer's checkpoint into a model, and accounts for every one of them."""

import dataclasses
import re
from collections.abc import Callable

import keras
import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import preset_config
from keras_maskrcnn.typing import Path
from keras_maskrcnn.weights import from_keras, names
from keras_maskrcnn.weights.checkpoint import CheckpointError, read_checkpoint, require_finite
from keras_maskrcnn.weights.public import coco_classes, download, download_imagenet

BODY = ("backbone", "res5")  # what an ImageNet classifier has weights for
# What keras.applications' ResNets expect of a config, beside stem_pool_same=False.
KERAS_CONVENTIONS = {
    "stride_in_1x1": True,
    "pixel_std": (1.0, 1.0, 1.0),
    "pixel_mean": (123.68, 116.779, 103.939),
}
PREDICTORS = ("box_head/class_logits", "box_head/box_deltas", "mask_head/logits")
_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What a checkpoint's keys became.

    Attributes:
        matched: dict of our variables to the file's keys; those of a classifier as they are called
            inside a detector.
        skipped: dict of the file's keys to the reason.
        missing: tuple of our variables that keep the values they had.
    """

    matched: dict[str, str]
    skipped: dict[str, str]
    missing: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"matched {len(self.matched)} arrays"]
        by_reason: dict[str, list[str]] = {}
        for key, reason in self.skipped.items():
            by_reason.setdefault(reason, []).append(key)
        for reason, keys in by_reason.items():
            lines.append(f"skipped {len(keys)} ({reason}): {_some(keys)}")
        if self.missing:
            lines.append(f"left as they were {len(self.missing)}: {_some(self.missing)}")
        return "\n".join(lines)


def load_torchvision(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a torchvision detector, or a torchvision or timm ResNet as the backbone.

    The model needs torchvision's conventions to give torchvision's detections: the presets whose
    names end in `_torchvision` or `_torchvision_v2`.

    Args:
        model: MaskRCNN.
        path: str. A file that `read_checkpoint` reads.
        skip_predictors: bool. Leaves out the layers that depend on the classes.
        verbose: bool. Whether to print the report.

    Returns:
        Report.

    Raises:
        CheckpointError: if the file cannot be read, an array has another shape than our variable,
            or a key or variable is left over. The model is not changed then.
    """
    return _load(model, path, "torchvision", skip_predictors, verbose)


def load_detectron2(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a detectron2 detector, or one of its ImageNet ResNets (also Caffe2's) as the backbone.

    The model needs detectron2's conventions to give its detections: the presets whose names end
    in `_detectron2`. Channels of the first convolution go from BGR to RGB, and background from
    last to first.

    Args, returns and raises as `load_torchvision`.
    """
    return _load(model, path, "detectron2", skip_predictors, verbose)


def load_matterport(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a detector of Matterport's Mask_RCNN (Keras 2), or its ResNet alone as the backbone.

    The model needs Matterport's conventions to give its detections: the presets whose names end in
    `_matterport`. Batch norm in the heads is folded into their convolutions. The file is one of
    `save_weights` or of `save`; RPN deltas are scaled by Matterport's default RPN_BBOX_STD_DEV.

    Args, returns and raises as `load_torchvision`.
    """
    return _load(model, path, "matterport", skip_predictors, verbose)


def load_keras_applications(
    model: keras.Model, path: Path, *, skip_predictors: bool = False, verbose: bool = True
) -> Report:
    """Loads a ResNet of keras.applications (ImageNet, with or without top) as the backbone.

    The file is a .h5 of Keras 1 or 2, or a .weights.h5 of Keras 3. These networks stride in the 1x1
    convolution and see pixels with the mean subtracted, undivided: the config has
    stride_in_1x1=True, pixel_std=(1, 1, 1) and pixel_mean=(123.68, 116.779, 103.939). Channels of
    the first convolution go from BGR to RGB.

    Args, returns and raises as `load_torchvision`; `skip_predictors` changes nothing.

    Raises:
        ValueError: also if the config has another stride_in_1x1, pixel_std or stem_pool_same, which
            no shape would tell.
    """
    config = model.config
    needed = {name: KERAS_CONVENTIONS[name] for name in ("stride_in_1x1", "pixel_std")}
    needed["stem_pool_same"] = False
    for field, value in needed.items():
        if getattr(config, field) != value:
            raise ValueError(
                f"{field} must be {value} for weights of keras.applications. "
                f"Received: {field}={getattr(config, field)}."
            )
    return _load(model, path, "keras_applications", skip_predictors, verbose)


def peer_of(preset: str) -> str | None:
    """Returns whose checkpoints a preset, by its name, takes: a key of `LOADERS`; None for none."""
    return next((peer for peer in LOADERS if f"_{peer}" in preset), None)


def load_for_preset(
    make: Callable[[MaskRCNNConfig], keras.Model],
    preset: str,
    config: MaskRCNNConfig,
    weights: Path,
    verbose: bool = True,
) -> keras.Model:
    """Builds a model and loads weights into it, see `MaskRCNN.from_preset`.

    Args:
        make: function from a config to a model.
        preset: str. Its name says whose weights fit.
        config: `MaskRCNNConfig` of the preset, perhaps with fields replaced.
        weights: "coco", "imagenet" or a path.
        verbose: bool. Whether to print what became of the arrays.
    """
    if weights == "imagenet":
        path = download_imagenet(config.backbone)
        model = make(config)
        load_keras_applications(model, path, verbose=verbose)
        return model
    source = peer_of(preset)
    if source is None:
        raise ValueError(
            "weights are for presets that end in _torchvision, _torchvision_v2, _detectron2 or "
            '_matterport; for others there is "imagenet". '
            f"Received: preset={preset!r}, weights={weights!r}."
        )
    other_classes = config.num_classes != preset_config(preset).num_classes
    path = weights
    if weights == "coco":
        path = download(preset)
        classes = {} if other_classes else coco_classes(config.num_classes)
        if config.class_names:  # as many as COCO has, but which?
            other_classes |= config.class_names != classes.get("class_names")
        else:
            config = dataclasses.replace(config, **classes)
    model = make(config)
    LOADERS[source](model, path, skip_predictors=other_classes, verbose=verbose)
    return model


LOADERS = {
    "torchvision": load_torchvision,
    "detectron2": load_detectron2,
    "matterport": load_matterport,
    "keras_applications": load_keras_applications,
}


def _load(model, path, source, skip_predictors, verbose):
    arrays, only_backbone = _read(path, source, model.config.norm_epsilon)
    variables = {
        f"{network}/{variable.path}": variable
        for network, layers in model.networks.items()
        for variable in layers.weights
    }
    values, matched, missing, skipped = {}, {}, {}, {}
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
            if value is None or value.shape != tuple(variable.shape):
                raise _wrong_shape(path, key, arrays[key], full_name, variable, layer)
            require_finite(path, key, value)
            values[full_name], matched[full_name] = value, key
    if missing:
        raise CheckpointError(
            f"{path} has no {_some(missing.values())} for the model's {_some(missing)}. Is it a "
            f"checkpoint of {source}, of the preset's architecture?"
        )
    skipped |= _without_place(path, set(arrays) - set(matched.values()) - set(skipped))
    for name, value in values.items():
        variables[name].assign(value)
    report = Report(matched, skipped, tuple(name for name in variables if name not in matched))
    if verbose:
        print(f"{path}\n{report}")
    return report


def _from_torch(source):
    """Whether a peer's arrays are in PyTorch's layout, with its own names; else they are Keras'."""
    return source not in from_keras.EPSILON


def _read(path, source, norm_epsilon):
    """Returns a checkpoint's dict of key to array, and whether it is one of a backbone alone."""
    arrays = read_checkpoint(path)
    if _from_torch(source):
        backbone = names.rename_backbone(arrays, source)
        return (arrays, False) if backbone is None else (backbone, True)
    arrays = from_keras.our_weights(arrays, source, norm_epsilon)
    return arrays, not any(key.startswith("rpn_head/") for key in arrays)


def _key(full_name, layer, source, arrays, only_backbone):
    """Returns the key that one of our variables has in a checkpoint."""
    if not _from_torch(source):
        return full_name.replace("res5/", "backbone/", 1) if only_backbone else full_name
    own, norm = names.peer_names(source, layer, arrays)
    return f"{norm if '/norm/' in full_name else own}.{_VARIABLES[full_name.split('/')[-1]]}"


def _without_place(path, keys):
    """Returns a dict of keys that no model has a place for to the reason why that is no loss.

    Raises:
        CheckpointError: if there is a key without a reason.
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
            f"{path} holds {_some(sorted(left))}, which the model has no place for. Is the "
            "preset's architecture that of the checkpoint?"
        )
    return reasons


def _convert(array, layer, name, source, cells):
    """A torch array in our layout; None if it has none. `cells` are those of a box RoI."""
    if layer in PREDICTORS:
        array = _classes(array, layer, source)
    if name == "kernel" and array.ndim == 4:
        # Also of a transposed convolution, where torch has (in, out, ...) and Keras (..., out, in).
        array = array.transpose(2, 3, 1, 0)
        if layer == "backbone/stem" and source == "detectron2":
            array = array[:, :, ::-1]  # BGR
    elif name == "kernel" and array.ndim == 2:
        units, count = array.shape
        if layer == "box_head/fc1":  # torch flattens channels first
            if count % cells:
                return None
            array = array.reshape(units, count // cells, cells).transpose(2, 1, 0)
            array = array.reshape(count, units)
        else:
            array = array.T
    return array


def _classes(array, layer, source):
    """Brings the rows of a predictor into our order: background first, and only in the logits."""
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
        hint = " For another number of classes, leave the predictors out (skip_predictors)."
    return CheckpointError(
        f"{path}: {key} has the shape {tuple(array.shape)}, which does not fit the model's {name} "
        f"of shape {tuple(variable.shape)}.{hint}"
    )


def _some(items, most=3):
    items = list(items)
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
