"""Rules for the values of the config: for each field, and for several fields together."""

import dataclasses
import difflib
import numbers
import re
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_maskrcnn.catalog import BACKBONES, PLAIN, RESNETS

NECKS = ("fpn", "simple_fpn", "c4", "c5", "dc5")
PYRAMIDS = ("fpn", "simple_fpn")  # necks with maps P2 to P6
IMAGE_DTYPES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}  # and the value of white
NORMS = ("frozen_batch", "batch", "group", "")
PEERS = ("detectron2", "torchvision")  # names of rules in which they differ; see docs/parity.md

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80


class Rule(NamedTuple):
    """A condition for a value, or for each value of a tuple."""

    expected: str  # the text after "must be"
    holds: Callable[[Any], bool]
    choices: tuple[Any, ...] = ()  # all allowed values, if they can be listed


def check_fields(config: Any) -> None:
    """Raises ValueError for the first field that breaks one of its own rules.

    Args:
        config: a `MaskRCNNConfig`.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        expected, is_of_type = TYPES[field.type]
        _require(is_of_type(value), name, value, expected)
        values = value if isinstance(value, tuple) else (value,)
        for rule in RULES[name]:
            holds = all(map(rule.holds, values))
            _require(holds, name, value, rule.expected + ("" if holds else _examples(rule, value)))


def check_combinations(config: Any) -> None:
    """Raises ValueError for the first field that contradicts another one.

    Args:
        config: a `MaskRCNNConfig` that passed `check_fields`, and has values for empty fields.
    """
    for name, holds, expected in COMBINATIONS:
        _require(holds(config), name, getattr(config, name), expected.format_map(vars(config)))


def _require(condition, name, value, expected):
    if not condition:
        raise ValueError(f"{name} must be {expected}. Received: {name}={shown(value)}.")


def shown(value: object) -> str:
    """Returns the `repr` of a value, shortened: a value from a file may have any length."""
    return _REPR.repr(value)


def choices(name: str) -> tuple[Any, ...]:
    """Returns a tuple of all allowed values of a field; () if they cannot be listed."""
    return next((rule.choices for rule in RULES[name] if rule.choices), ())


def _examples(rule, value):
    """Returns the end of an expected value: choices like the value, if the text lists none."""
    if not rule.choices or repr(rule.choices[0]) in rule.expected:
        return ""
    plain = {re.sub(r"[^a-z0-9]", "", choice.lower()): choice for choice in rule.choices}
    wanted = re.sub(r"[^a-z0-9]", "", value.lower())[:80]
    near = [name for name in plain if wanted and name.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, plain, n=3) or list(plain)
    return f", such as {' or '.join(repr(plain[name]) for name in near[:3])}"


def _is_whole(value):
    # Refuses bool, which is a subclass of int. NumPy's integers have __index__, too.
    return hasattr(value, "__index__") and not isinstance(value, bool) and not np.ndim(value)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_text(value):
    return isinstance(value, str)


def _is_bool(value):
    return isinstance(value, bool)


def _are(check_one):
    return lambda value: isinstance(value, tuple) and all(map(check_one, value))


# For each annotation of a field: the expected value in words, and a function that checks it.
TYPES: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    int: ("a whole number", _is_whole),
    float: ("a number", _is_number),
    str: ("a string", _is_text),
    bool: ("true or false", _is_bool),
    tuple[str, ...]: ("a list of strings", _are(_is_text)),
    tuple[int, ...]: ("a list of whole numbers", _are(_is_whole)),
    tuple[float, ...]: ("a list of numbers", _are(_is_number)),
    tuple[float, float, float, float]: ("4 numbers", _are(_is_number)),
}


def _one_of(*values):
    words = f"one of {', '.join(map(repr, values))}"
    return (Rule(words, lambda value: value in values, values),)


def _positive(most):
    """Above 0. `most` is far above useful values and near what a machine's memory can hold."""
    return (Rule("positive", lambda v: v > 0), Rule(f"at most {most}", lambda v: v <= most))


def _scale(most):
    """Above 0 also in float32, with a finite inverse."""
    return (*_positive(most), Rule("at least 1e-06", lambda v: v >= 1e-6))


def _at_least_0(most):
    return (Rule("at least 0", lambda v: v >= 0), Rule(f"at most {most}", lambda v: v <= most))


def _within(low, high):
    return (Rule(f"in {low}..{high}", lambda v: low <= v <= high),)


_ANY = ()
_SIDE = _positive(20_000)
_CHANNELS = _positive(2048)
_UNITS = _positive(16_384)
_FRACTION = _within(0, 1)
_BETA = _at_least_0(1_000_000)
_PIXELS = _at_least_0(20_000)
_BEFORE_NMS = _positive(1_000_000)
_PROPOSALS = _positive(50_000)

# The rules of each field. They are checked after the field's type.
RULES = {
    "task": _one_of("masks", "boxes", "proposals"),
    "proposals": _one_of("joint", "precomputed"),
    "num_classes": _positive(20_000),
    "class_names": _ANY,
    "category_ids": _within(-(2**63), 2**63 - 1),
    "in_channels": _within(1, 32),
    "image_dtype": _one_of(*IMAGE_DTYPES),
    "pixel_max": (Rule("0, or in 1e-06..1e+12", lambda v: v == 0 or 1e-6 <= v <= 1e12),),
    "image_min_side": _SIDE,
    "image_max_side": _SIDE,
    "pixel_mean": (Rule("finite", lambda v: abs(v) <= 1e6),),
    "pixel_std": _scale(1_000_000),
    "resize_rule": _one_of(*PEERS),
    "padding_multiple": _positive(4096),
    "neck": _one_of(*NECKS),
    "backbone": (
        Rule(
            "a name of docs/backbones.md",
            lambda v: v in BACKBONES,
            tuple(BACKBONES),
        ),
    ),
    "backbone_width": _positive(512),
    "stochastic_depth": _within(0, 0.9),
    "stride_in_1x1": _ANY,
    "stem_pool_same": _ANY,
    "norm": _one_of(*NORMS),
    "norm_epsilon": _at_least_0(1),
    "frozen_stages": _within(0, 5),
    "fpn_channels": _CHANNELS,
    "head_norm": _one_of("", "batch", "group", "layer"),
    "anchor_sizes": _SIDE,
    "anchor_ratios": _scale(1000),
    "anchor_rule": _one_of(*PEERS, "matterport"),
    "rpn_head_convs": _positive(100),
    "rpn_head_channels": _at_least_0(2048),
    "rpn_positive_iou": _FRACTION,
    "rpn_negative_iou": _FRACTION,
    "rpn_batch": _BEFORE_NMS,
    "rpn_positive_fraction": _FRACTION,
    "rpn_loss_divisor": _one_of("slots", "sampled"),
    "rpn_nms_iou": _FRACTION,
    "rpn_joint_nms": _ANY,
    "rpn_min_size": _PIXELS,
    "train_pre_nms": _BEFORE_NMS,
    "train_proposals": _PROPOSALS,
    "test_pre_nms": _BEFORE_NMS,
    "test_proposals": _PROPOSALS,
    "roi_batch": _PROPOSALS,
    "roi_positive_fraction": _FRACTION,
    "roi_positive_iou": _FRACTION,
    "roi_loss_divisor": _one_of("slots", "sampled"),
    "canonical_roi_size": _SIDE,
    "roi_level_rule": _one_of(*PEERS, "matterport"),
    "box_pool_size": _positive(64),
    "mask_pool_size": _positive(64),
    "roi_op": _one_of("align", "pool", "warp", "crop"),
    "roi_pooling": _one_of("average", "max"),
    "sampling_ratio": _at_least_0(64),
    "roi_aligned": _ANY,
    "box_delta_weights": _scale(1_000_000),
    "res5_stride": _positive(16),
    "box_head_convs": _at_least_0(100),
    "box_head_layers": _at_least_0(100),
    "box_head_units": _UNITS,
    "mask_predictor": _one_of("fcn", "mlp"),
    "mask_head_convs": _at_least_0(100),
    "mask_head_channels": _CHANNELS,
    "mask_mlp_layers": _positive(100),
    "mask_mlp_units": _UNITS,
    "class_agnostic_masks": _ANY,
    "head_init": _one_of(*PEERS),
    "rpn_box_beta": _BETA,
    "box_beta": _BETA,
    "mask_loss": _one_of("sigmoid", "softmax"),
    "soft_mask_targets": _ANY,
    "one_class_per_roi": _ANY,
    "score_threshold": _FRACTION,
    "class_thresholds": _FRACTION,
    "nms_iou": _FRACTION,
    "nms_across_classes": _ANY,
    "box_min_size": _PIXELS,
    "detections_per_image": _positive(10_000),
    "mask_paste": _one_of(*PEERS),
}

# Rules for several fields together: the field that the error names, whether its value is right, and
# the expected value, with the values of other fields in braces.
COMBINATIONS = (
    (
        "class_names",
        lambda c: len(c.class_names) in (0, c.num_classes),
        "empty or {num_classes} long",
    ),
    (
        "category_ids",
        lambda c: len(c.category_ids) in (0, c.num_classes),
        "empty or {num_classes} long",
    ),
    (
        "class_thresholds",
        lambda c: len(c.class_thresholds) in (0, c.num_classes),
        "empty or {num_classes} long",
    ),
    ("category_ids", lambda c: len(set(c.category_ids)) == len(c.category_ids), "distinct"),
    (
        "pixel_mean",
        lambda c: len(c.pixel_mean) in (c.in_channels, 3 if c.in_channels == 1 else c.in_channels),
        "as many numbers as in_channels ({in_channels}); for one channel, 3 numbers repeat it",
    ),
    (
        "pixel_std",
        lambda c: len(c.pixel_std) == len(c.pixel_mean),
        "as many numbers as pixel_mean",
    ),
    (
        "pixel_max",
        lambda c: c.image_dtype != "uint16" or c.pixel_max > 255,
        "above 255 with image_dtype='uint16'",
    ),
    (
        "pixel_max",
        lambda c: c.image_dtype != "uint8" or c.pixel_max <= 255,
        "at most 255 with image_dtype='uint8'",
    ),
    ("box_delta_weights", lambda c: len(c.box_delta_weights) == 4, "4 numbers"),
    ("anchor_sizes", lambda c: len(c.anchor_sizes) > 0, "positive"),
    ("anchor_sizes", lambda c: len(c.anchor_sizes) <= 100, "at most 100 numbers"),
    ("anchor_ratios", lambda c: len(c.anchor_ratios) > 0, "positive"),
    ("anchor_ratios", lambda c: len(c.anchor_ratios) <= 100, "at most 100 numbers"),
    ("image_max_side", lambda c: c.image_max_side >= c.image_min_side, "≥ image_min_side"),
    (
        "rpn_negative_iou",
        lambda c: c.rpn_negative_iou <= c.rpn_positive_iou,
        "at most rpn_positive_iou",
    ),
    (
        "anchor_sizes",
        lambda c: c.neck not in PYRAMIDS or len(c.anchor_sizes) == 5,
        "5 sizes, one for each of P2..P6",
    ),
    (
        "padding_multiple",
        lambda c: (
            (c.neck not in PYRAMIDS and c.backbone in RESNETS) or c.padding_multiple % 32 == 0
        ),
        "a multiple of 32 with neck={neck!r} and backbone={backbone!r}",
    ),
    (
        "anchor_rule",
        lambda c: c.neck in PYRAMIDS or c.anchor_rule == "detectron2",
        "'detectron2' with neck={neck!r}",
    ),
    (
        "mask_pool_size",
        lambda c: c.neck != "c4" or c.mask_pool_size == c.box_pool_size,
        "box_pool_size ({box_pool_size}) with neck='c4'",
    ),
    (
        "proposals",
        lambda c: c.task != "proposals" or c.proposals == "joint",
        "'joint' with task='proposals'",
    ),
    (
        "roi_pooling",
        lambda c: c.roi_op != "pool" or c.roi_pooling == "max",
        "'max' with roi_op='pool'",
    ),
    (
        "sampling_ratio",
        lambda c: c.roi_pooling != "max" or c.sampling_ratio > 0,
        "positive with roi_pooling='max'",
    ),
    (
        "mask_loss",
        lambda c: not c.class_agnostic_masks or c.mask_loss == "sigmoid",
        "'sigmoid' with class_agnostic_masks",
    ),
    (
        "neck",
        lambda c: c.backbone in RESNETS or c.neck not in ("c4", "dc5"),
        "'fpn', 'simple_fpn' or 'c5' with backbone={backbone!r}",
    ),
    (
        "neck",
        lambda c: c.backbone not in PLAIN or c.neck == "simple_fpn",
        "'simple_fpn' with backbone={backbone!r}",
    ),
    (
        "norm",
        lambda c: c.backbone in RESNETS or c.norm in ("frozen_batch", "batch"),
        "'frozen_batch' or 'batch' with backbone={backbone!r}",
    ),
    (
        "backbone_width",
        lambda c: c.backbone in RESNETS or c.backbone_width == 64,
        "64 with backbone={backbone!r}",
    ),
    (
        "stochastic_depth",
        lambda c: c.backbone not in RESNETS or c.stochastic_depth == 0,
        "0 with backbone={backbone!r}",
    ),
    # A grouped convolution has 32 groups and twice or four times the backbone's width.
    (
        "backbone_width",
        lambda c: c.backbone != "resnext50_32x4d" or c.backbone_width % 16 == 0,
        "a multiple of 16 with this ResNeXt",
    ),
    (
        "backbone_width",
        lambda c: c.backbone != "resnext101_32x8d" or c.backbone_width % 8 == 0,
        "a multiple of 8 with this ResNeXt",
    ),
)
