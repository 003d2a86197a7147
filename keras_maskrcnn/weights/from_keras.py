"""Converts weights of Matterport's Mask_RCNN and keras.applications to ours, in plain NumPy.

These models differ from ours in several points. The conversion makes up for each one exactly:

- batch norm's epsilon, and biases before batch norm,
- batch norm in the heads, and convolutions over whole RoIs,
- an RPN with a softmax over two logits, and scaled deltas,
- y before x, and outputs for background.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

# The epsilon that batch norm of these models adds to the variance.
EPSILON = {"matterport": 1e-3, "keras_applications": 1.001e-5}
RPN_BBOX_STD_DEV = (0.1, 0.1, 0.2, 0.2)  # Matterport's default config multiplies RPN deltas by it

_HEADS = {
    **{f"fpn_c{i}p{i}": f"fpn/lateral{i}" for i in (2, 3, 4, 5)},
    **{f"fpn_p{i}": f"fpn/output{i}" for i in (2, 3, 4, 5)},
    "rpn_conv_shared": "rpn_head/conv1",
    "rpn_class_raw": "rpn_head/logits",
    "rpn_bbox_pred": "rpn_head/deltas",
    **{f"mrcnn_class_{kind}{i}": f"box_head/fc{i}" for kind in ("conv", "bn") for i in (1, 2)},
    "mrcnn_class_logits": "box_head/class_logits",
    "mrcnn_bbox_fc": "box_head/box_deltas",
    **{
        f"mrcnn_mask_{kind}{i}": f"mask_head/conv{i}"
        for kind in ("conv", "bn")
        for i in (1, 2, 3, 4)
    },
    "mrcnn_mask_deconv": "mask_head/deconv",
    "mrcnn_mask": "mask_head/logits",
}
_STEM = ("conv1", "bn_conv1", "conv1_conv", "conv1_bn")
_PARTS = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_LINEAR = ("kernel", "bias")
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_NUMBERED = {2: _LINEAR, 4: _NORM}  # Keras 3 numbers them; the key is how many a layer has
_VARIABLES = {  # names in Keras 2, then in Keras 1, where "running_std" is a variance
    **{name: name for name in (*_LINEAR, *_NORM)},
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}


def our_weights(
    arrays: Mapping[str, np.ndarray], source: str, epsilon: float
) -> dict[str, np.ndarray]:
    """Gives arrays the names and the layout of our variables.

    Args:
        arrays: dict of str to array, from `read_checkpoint`. Keys are "GROUP/LAYER/NAME:0" (Keras
            2), "LAYER/LAYER_NAME:0" (Keras 1) or "GROUP/LAYER/NUMBER" (Keras 3).
        source: a key of `EPSILON`.
        epsilon: float. The epsilon that our batch norm adds to the variance.

    Returns:
        dict of str to array. Keys are "network/path of our variable", for instance
            "backbone/res2_0_conv1/norm/gamma". Arrays of other layers keep their keys.
    """
    layers: dict[str, Any] = {}
    renamed: dict[str, np.ndarray] = {}
    for (layer, name), keys in _by_variable(arrays).items():
        if layer is None or len(keys) > 1:
            renamed |= {key: arrays[key] for key in keys}
        else:
            layers.setdefault(layer, {})[name] = np.asarray(arrays[keys[0]], np.float64)
    for layer, values in layers.items():
        if layer.startswith("backbone/"):
            _move_into_norm(values, EPSILON[source] - epsilon)
        elif all(name in values for name in ("kernel", *_NORM)):
            _fold_norm(values, EPSILON[source])
        if layer == "backbone/stem" and source == "keras_applications" and "kernel" in values:
            values["kernel"] = values["kernel"][:, :, ::-1]  # BGR
        for name, value in values.items():
            path = f"{layer}/norm/{name}" if name in _NORM else f"{layer}/{name}"
            renamed[path] = _rearrange(value, layer, name)
    return renamed


def _by_variable(arrays):
    """Returns {(our layer, name): keys of the file}; (None, "") for keys of other layers."""
    counts: dict[str, int] = {}
    for key in arrays:
        group = key.rpartition("/")[0]
        counts[group] = counts.get(group, 0) + 1
    found: dict[tuple[str | None, str], list[str]] = {}
    for key in arrays:
        group, _, name = key.rpartition("/")
        # Keras adds a number in the second model of a process: "conv1/conv1_1/kernel:0".
        layer = _our_layer(re.sub(r"_\d+$", "", group.rpartition("/")[2]))
        name = name.removesuffix(":0")
        if name.isdecimal():
            names = _NUMBERED.get(counts[group], ())
            name = names[int(name)] if int(name) < len(names) else ""
        else:
            last = re.fullmatch(rf"(?:.*_)?({'|'.join(_VARIABLES)})", name)
            name = _VARIABLES[last.group(1)] if last else ""
        found.setdefault((layer, name) if layer and name else (None, ""), []).append(key)
    return found


def _our_layer(theirs):
    """Returns our "network/layer" for their layer or the norm after it; None if there is none."""
    if theirs in _STEM:
        return "backbone/stem"
    if found := re.fullmatch(r"(?:res|bn)([2-5])([a-w])_branch(1|2[abc])", theirs):
        stage, letter, part = found.groups()
        return f"backbone/res{stage}_{ord(letter) - ord('a')}_{_PARTS[part]}"
    if found := re.fullmatch(r"conv([2-5])_block(\d+)_([0-3])_(?:conv|bn)", theirs):
        stage, block, part = found.groups()
        return f"backbone/res{stage}_{int(block) - 1}_{list(_PARTS.values())[int(part)]}"
    return _HEADS.get(theirs)


def _move_into_norm(values, epsilon):
    """Moves the bias before a norm into the norm's mean, and an epsilon into its variance.

    Args:
        values: dict of name to array of one layer. Changed in place.
        epsilon: float. Their epsilon minus ours.
    """
    if "moving_mean" in values:
        values["moving_mean"] = values["moving_mean"] - values.pop("bias", 0.0)
    if "moving_variance" in values:
        values["moving_variance"] = values["moving_variance"] + epsilon


def _fold_norm(values, epsilon):
    """Folds a norm into the kernel and bias of the layer before it; changes `values` in place."""
    gamma, beta, mean, variance = (values.pop(name) for name in _NORM)
    scale = gamma / np.sqrt(variance + epsilon)
    values["kernel"] = values["kernel"] * scale
    values["bias"] = (values.get("bias", 0.0) - mean) * scale + beta


def _rearrange(value, layer, name):
    """Puts the outputs (the last axis) in our order, and kernels of "fc" layers into matrices."""
    if layer.startswith("box_head/fc") and name == "kernel":
        return value.reshape(-1, value.shape[-1])
    if layer == "rpn_head/logits":  # a softmax over (background, object) is a sigmoid
        pairs = value.reshape(*value.shape[:-1], -1, 2)
        return pairs[..., 1] - pairs[..., 0]
    if layer in ("rpn_head/deltas", "box_head/box_deltas"):
        # Theirs are dy, dx, dh, dw.
        deltas = value.reshape(*value.shape[:-1], -1, 4)[..., [1, 0, 3, 2]]
        rpn = layer == "rpn_head/deltas"  # otherwise there are 4 per class, background first
        deltas = deltas * RPN_BBOX_STD_DEV if rpn else deltas[..., 1:, :]
        return deltas.reshape(*value.shape[:-1], -1)
    if layer == "mask_head/logits":  # their first class is background
        return value[..., 1:]
    return value
