"""Every number of the model, in one place, with the section of the paper it comes from.

A preset is a difference from the defaults, which are the paper's Mask R-CNN with a
ResNet-50-FPN. Numbers of the optimizer and of the input pipeline are not model numbers: they are
in `training.Recipe` and `data.batches`.
"""

import dataclasses
import difflib
import numbers
import reprlib
from dataclasses import dataclass

import numpy as np

BACKBONES = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *("resnext50_32x4d", "resnext101_32x8d"),
)
NECKS = ("fpn", "c4", "c5", "dc5")
NORMS = ("frozen_batch", "batch", "group", "")
PEERS = ("detectron2", "torchvision")  # whose rule, where they differ; see docs/parity.md


@dataclass(frozen=True)
class MaskRCNNConfig:
    """A Mask R-CNN (Figure 4). Sections are those of the paper.

    Raises:
        ValueError: if a value is out of its range, or two values contradict each other.
    """

    # "boxes" is Faster R-CNN: no mask branch, all else the same (Table 3). "proposals": RPN alone
    task: str = "masks"
    proposals: str = "joint"  # "precomputed": given with the images, no RPN (Fast R-CNN)

    # What is detected. Label i (1..num_classes) is class_names[i - 1]; 0 is background.
    num_classes: int = 80
    class_names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()  # ids of the annotation file; empty: the labels themselves

    # Input (§3.1: shorter edge 800; FPN: longer edge at most 1333). ImageNet's RGB statistics.
    image_min_side: int = 800
    image_max_side: int = 1333
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    resize_rule: str = "detectron2"  # torchvision rounds sizes down and does not antialias
    padding_multiple: int = 32  # of the padded image's sides; the largest stride of FPN's maps

    # Backbone (§3, Network Architecture), and which of its maps RPN and heads see: FPN's five, C4
    # (res5 goes into the head), C5 of stride 32 (Table 2d), or C5 dilated to stride 16 (DC5).
    neck: str = "fpn"
    backbone: str = "resnet50"
    backbone_width: int = 64  # channels of the stem; the stages are multiples of it
    stride_in_1x1: bool = False  # of a bottleneck that halves; else in its 3x3 convolution
    stem_pool_same: bool = False  # its max-pool pads right and below only, as TensorFlow's "SAME"
    # §3.1 follows Faster R-CNN: batch norm is a fixed affine layer. "": biases instead
    norm: str = "frozen_batch"
    norm_epsilon: float = 1e-5  # of the backbone; torchvision's COCO weights of v1 have 0
    frozen_stages: int = 2  # the stem counts as stage 1 and res2 as stage 2; 0 trains all
    fpn_channels: int = 256
    head_norm: str = ""  # norm in FPN and heads: none in the paper; "batch" or "group"

    # Anchors (§3.1: 5 scales x 3 ratios; FPN: one scale a level), sides in pixels, ratio = h/w
    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    # torchvision rounds corners, and has strides of its own; Matterport's boxes end on a pixel.
    anchor_rule: str = "detectron2"

    # RPN (Faster R-CNN §3.1.2; FPN §4.1)
    rpn_head_convs: int = 1
    rpn_head_channels: int = 0  # 0: those of the pyramid
    rpn_positive_iou: float = 0.7
    rpn_negative_iou: float = 0.3
    rpn_batch: int = 256  # anchors an image that have a loss
    rpn_positive_fraction: float = 0.5
    rpn_loss_divisor: str = "slots"  # rpn_batch; or the number that was "sampled"
    rpn_nms_iou: float = 0.7
    rpn_joint_nms: bool = False  # one top-k and one NMS for all levels together (Matterport)
    rpn_min_size: float = 0.0  # proposals have longer sides, in pixels
    train_pre_nms: int = 2000  # proposals a level before NMS
    train_proposals: int = 2000  # proposals an image after NMS
    test_pre_nms: int = 1000
    test_proposals: int = 1000  # §3.1, Inference: 1000 with FPN

    # RoIs (§3.1, Training: N = 512 with FPN, 1:3, positive at IoU 0.5)
    roi_batch: int = 512
    roi_positive_fraction: float = 0.25
    roi_positive_iou: float = 0.5
    roi_loss_divisor: str = "slots"  # roi_batch; or the number that was "sampled"
    canonical_roi_size: float = 224.0  # FPN Eq. 1: a RoI of this size is pooled from P4
    roi_level_rule: str = "detectron2"  # torchvision: borders a millionth off; Matterport: rounded
    box_pool_size: int = 7  # Figure 4
    mask_pool_size: int = 14  # Figure 4; masks are twice as large. C4: one RoI for both branches
    # Table 2c: "pool" quantizes RoI and bins, "warp" the RoI. "crop" is Matterport's: one point a
    # bin, the outermost on the box's corners.
    roi_op: str = "align"
    roi_pooling: str = "average"  # of a bin's points, or "max"; roi_op="pool" has only "max"
    sampling_ratio: int = 2  # §3: "four regularly sampled locations" in each bin; 0: adaptive
    roi_aligned: bool = True  # value i of a map sits at i + 0.5; False: at i
    box_delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)

    # Heads (Figure 4)
    res5_stride: int = 1  # C4: 7 x 7 RoIs, stride 1; detectron2 14 x 14, stride 2
    box_head_convs: int = 0
    box_head_layers: int = 2  # fully connected ones; C4: 0, the average of the RoI
    box_head_units: int = 1024
    mask_predictor: str = "fcn"  # "mlp": fully connected layers (Table 2e)
    mask_head_convs: int = 4  # C4: 0
    mask_head_channels: int = 256
    mask_mlp_layers: int = 2  # hidden ones; the paper also tries 3
    mask_mlp_units: int = 1024
    class_agnostic_masks: bool = False  # §4.1: one mask instead of one a class
    head_init: str = "detectron2"  # torchvision's predictors begin with larger weights

    # Losses: smooth L1 is quadratic below beta
    rpn_box_beta: float = 1 / 9
    box_beta: float = 1.0
    mask_loss: str = "sigmoid"  # "softmax" lets the classes of a pixel compete (Table 2b)
    soft_mask_targets: bool = False  # the covered share of a cell, instead of 0 or 1

    # Inference (§3.1)
    one_class_per_roi: bool = False  # only a RoI's best class counts (Matterport)
    score_threshold: float = 0.05
    nms_iou: float = 0.5
    box_min_size: float = 0.0  # detections have longer sides before NMS, in pixels
    detections_per_image: int = 100
    mask_paste: str = "detectron2"  # torchvision rounds boxes to whole pixels

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, field.name, tuple(value))
        self._validate()

    @classmethod
    def from_fields(cls, fields):
        """Makes a config of what a file says.

        Args:
            fields: dict of names of fields to values; what is missing has its default, as in files
                of earlier versions.

        Raises:
            ValueError: as the constructor, and if it is no dict or there is no such field.
        """
        if not isinstance(fields, dict):
            raise ValueError(
                f"a config must be a dict of fields. Received: config={_REPR.repr(fields)}."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                raise ValueError(
                    f"no such config field{_hint(name[:80], known)} Received: {_REPR.repr(name)}."
                )
        return cls(**fields)

    def _validate(self):
        def require(name, condition, expected):
            if not condition:
                value = _REPR.repr(getattr(self, name))
                raise ValueError(f"{name} must be {expected}. Received: {name}={value}.")

        for field in dataclasses.fields(self):
            value, (words, is_of_type) = getattr(self, field.name), _TYPES[field.type]
            require(field.name, is_of_type(value), words)
            values = value if isinstance(value, tuple) else (value,)
            for expected, holds in RULES[field.name]:
                require(field.name, all(map(holds, values)), expected)
        for name in ("class_names", "category_ids"):
            length = len(getattr(self, name))
            require(name, length in (0, self.num_classes), f"empty or {self.num_classes} long")
        require("category_ids", len(set(self.category_ids)) == len(self.category_ids), "distinct")
        for name in ("pixel_mean", "pixel_std"):
            require(name, len(getattr(self, name)) == 3, "3 numbers, for R, G and B")
        require("box_delta_weights", len(self.box_delta_weights) == 4, "4 numbers")
        for name in ("anchor_sizes", "anchor_ratios"):
            require(name, getattr(self, name), "positive")
            require(name, len(getattr(self, name)) <= 100, "at most 100 numbers")
        require("image_max_side", self.image_max_side >= self.image_min_side, "≥ image_min_side")
        require(
            "rpn_negative_iou",
            self.rpn_negative_iou <= self.rpn_positive_iou,
            "at most rpn_positive_iou",
        )
        self._validate_combinations(require)

    def _validate_combinations(self, require):
        fpn = self.neck == "fpn"
        require(
            "anchor_sizes",
            len(self.anchor_sizes) == 5 or not fpn,
            "5 sizes, one for each of P2..P6",
        )
        require(
            "padding_multiple",
            self.padding_multiple % 32 == 0 or not fpn,
            "a multiple of 32 with neck='fpn'",
        )
        require(
            "anchor_rule",
            fpn or self.anchor_rule == "detectron2",
            "'detectron2' with another neck than FPN",
        )
        require(
            "mask_pool_size",
            self.neck != "c4" or self.mask_pool_size == self.box_pool_size,
            f"box_pool_size ({self.box_pool_size}) with neck='c4'",
        )
        require(
            "proposals",
            self.task != "proposals" or self.proposals == "joint",
            "'joint' with task='proposals'",
        )
        require(
            "roi_pooling",
            self.roi_pooling == "max" or self.roi_op != "pool",
            "'max' with roi_op='pool'",
        )
        require(
            "sampling_ratio",
            self.sampling_ratio > 0 or self.roi_pooling == "average",
            "positive with roi_pooling='max'",
        )
        require(
            "mask_loss",
            self.mask_loss == "sigmoid" or not self.class_agnostic_masks,
            "'sigmoid' with class_agnostic_masks",
        )
        # 32 groups of the twofold or fourfold width.
        factor = {"resnext50_32x4d": 16, "resnext101_32x8d": 8}.get(self.backbone, 1)
        require(
            "backbone_width",
            self.backbone_width % factor == 0,
            f"a multiple of {factor} with this ResNeXt",
        )

    def names(self):
        """Returns a tuple of `num_classes` class names, `class 1`, ... where none were given."""
        return self.class_names or tuple(f"class {i + 1}" for i in range(self.num_classes))

    def resizing(self):
        """Returns how the model resizes images, as `data.batches` takes it: keyword arguments.

        `data.batches(dataset, 2, training=True, **config.resizing())` makes the batches that the
        model trains on, and that `evaluate` scores.
        """
        return {
            "min_side": self.image_min_side,
            "max_side": self.image_max_side,
            "resize_rule": self.resize_rule,
            "padding_multiple": self.padding_multiple,
        }

    def ids(self):
        """Returns a tuple of `num_classes` category ids, 1, 2, ... where none were given."""
        return self.category_ids or tuple(range(1, self.num_classes + 1))


_REPR = reprlib.Repr()  # a value of a file may be as long as it likes
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80


def _is_whole(value):
    # Not bool, which is an int too; numpy's integers have __index__.
    return hasattr(value, "__index__") and not isinstance(value, bool) and not np.ndim(value)


def _is_number(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _are(check):
    return lambda value: isinstance(value, tuple) and all(map(check, value))


# Of a field's annotation: what a value must be, and whether it is.
_TYPES = {
    int: ("a whole number", _is_whole),
    float: ("a number", _is_number),
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    tuple[str, ...]: ("a list of texts", _are(lambda value: isinstance(value, str))),
    tuple[int, ...]: ("a list of whole numbers", _are(_is_whole)),
    tuple[float, ...]: ("a list of numbers", _are(_is_number)),
    tuple[float, float, float]: ("3 numbers, for R, G and B", _are(_is_number)),
    tuple[float, float, float, float]: ("4 numbers", _are(_is_number)),
}


def _one_of(*values):
    words = f"one of {', '.join(map(repr, values))}"
    return ((words, lambda value: value in values),)


def _positive(most):
    """Above 0. `most` is far beyond what is of use, and near what a machine's memory can hold."""
    return (("positive", lambda v: v > 0), (f"at most {most}", lambda v: v <= most))


def _scale(most):
    """Above 0 in float32 too, and its inverse finite."""
    return (*_positive(most), ("at least 1e-06", lambda v: v >= 1e-6))


def _at_least_0(most):
    return (("at least 0", lambda v: v >= 0), (f"at most {most}", lambda v: v <= most))


def _within(low, high):
    return ((f"in {low}..{high}", lambda v: low <= v <= high),)


_ANY = ()
_SIDE = _positive(20_000)
_CHANNELS = _positive(2048)
_UNITS = _positive(16_384)
_FRACTION = _within(0, 1)
_BETA = _at_least_0(1_000_000)
_PIXELS = _at_least_0(20_000)
_BEFORE_NMS = _positive(1_000_000)
_PROPOSALS = _positive(50_000)

# Field: (what its value, or each of a tuple's, must be; whether it is), after its type is right.
RULES = {
    "task": _one_of("masks", "boxes", "proposals"),
    "proposals": _one_of("joint", "precomputed"),
    "num_classes": _positive(20_000),
    "class_names": _ANY,
    "category_ids": _within(-(2**63), 2**63 - 1),
    "image_min_side": _SIDE,
    "image_max_side": _SIDE,
    "pixel_mean": (("finite", lambda v: abs(v) <= 1e6),),
    "pixel_std": _scale(1_000_000),
    "resize_rule": _one_of(*PEERS),
    "padding_multiple": _positive(4096),
    "neck": _one_of(*NECKS),
    "backbone": _one_of(*BACKBONES),
    "backbone_width": _positive(512),
    "stride_in_1x1": _ANY,
    "stem_pool_same": _ANY,
    "norm": _one_of(*NORMS),
    "norm_epsilon": _at_least_0(1),
    "frozen_stages": _within(0, 5),
    "fpn_channels": _CHANNELS,
    "head_norm": _one_of("", "batch", "group"),
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
    "nms_iou": _FRACTION,
    "box_min_size": _PIXELS,
    "detections_per_image": _positive(10_000),
    "mask_paste": _one_of(*PEERS),
}


_SMALL = dict(
    image_min_side=256,
    image_max_side=427,
    norm="batch",
    frozen_stages=0,
    fpn_channels=128,
    anchor_sizes=(8.0, 16.0, 32.0, 64.0, 128.0),
    roi_batch=128,
    box_head_units=512,
    mask_head_channels=128,
    head_init="torchvision",
    box_beta=1 / 9,
)

# What torchvision does differently from the paper or from detectron2; docs/parity.md says where.
_TORCHVISION = dict(
    num_classes=90,
    resize_rule="torchvision",
    anchor_rule="torchvision",
    roi_level_rule="torchvision",
    roi_aligned=False,
    mask_paste="torchvision",
    rpn_loss_divisor="sampled",
    roi_loss_divisor="sampled",
    rpn_min_size=1e-3,
    box_min_size=1e-2,
    head_init="torchvision",
    box_beta=1 / 9,
    soft_mask_targets=True,
)
_TORCHVISION_V2 = dict(
    _TORCHVISION,
    norm="batch",
    head_norm="batch",
    rpn_head_convs=2,
    box_head_convs=4,
    box_head_layers=1,
)
# The importer turns BGR into RGB; detectron2 subtracts means and does not divide.
_DETECTRON2 = dict(
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(1.0, 1.0, 1.0),
    stride_in_1x1=True,
    sampling_ratio=0,
    roi_loss_divisor="sampled",
    train_proposals=1000,
    rpn_box_beta=0.0,
    box_beta=0.0,
)

# C4 (Figure 4, left; §3.1: N = 64, 300 proposals); numbers of the RPN as Faster R-CNN's.
_C4 = dict(
    neck="c4",
    train_pre_nms=12000,
    test_pre_nms=6000,
    test_proposals=300,
    roi_batch=64,
    mask_pool_size=7,
    box_head_layers=0,
    mask_head_convs=0,
)
_C4_DETECTRON2 = {
    **_C4,
    **_DETECTRON2,
    "padding_multiple": 1,
    "train_proposals": 2000,
    "test_proposals": 1000,
    "roi_batch": 512,
    "box_pool_size": 14,
    "mask_pool_size": 14,
    "res5_stride": 2,
}
_DC5_DETECTRON2 = {
    **_DETECTRON2,
    "neck": "dc5",
    "padding_multiple": 1,
    "train_pre_nms": 12000,
    "test_pre_nms": 6000,
    "train_proposals": 2000,
}
# Its ResNeXt, unlike its ResNets, divides by deviations and halves in the 3x3 convolution.
_X101_DETECTRON2 = {
    **_DETECTRON2,
    "backbone": "resnext101_32x8d",
    "pixel_std": (58.395, 57.12, 57.375),
    "stride_in_1x1": False,
}
# Matterport's ratios are width over height; what the importer settles is not here.
_MATTERPORT = dict(
    image_max_side=1024,
    pixel_mean=(123.7, 116.8, 103.9),
    pixel_std=(1.0, 1.0, 1.0),
    resize_rule="torchvision",
    stride_in_1x1=True,
    stem_pool_same=True,
    anchor_rule="matterport",
    anchor_ratios=(2.0, 1.0, 0.5),
    rpn_head_channels=512,
    rpn_joint_nms=True,
    train_pre_nms=6000,
    test_pre_nms=6000,
    roi_level_rule="matterport",
    roi_op="crop",
    roi_batch=200,
    roi_positive_fraction=0.33,
    one_class_per_roi=True,
    score_threshold=0.7,
    nms_iou=0.3,
)

_MASK_RCNN = {
    # Figure 4 and Table 2a; ResNet-18 and -34 for machines without a GPU.
    **{f"{backbone}_fpn": dict(backbone=backbone) for backbone in BACKBONES},
    **{f"{backbone}_c4": dict(_C4, backbone=backbone) for backbone in BACKBONES},
    # norm_epsilon: torchvision sets it for its own COCO weights; checkpoints of your own have 1e-5.
    "resnet50_fpn_torchvision": dict(_TORCHVISION, norm_epsilon=0.0),
    "resnet50_fpn_torchvision_v2": _TORCHVISION_V2,
    "resnet50_fpn_detectron2": _DETECTRON2,
    "resnet101_fpn_detectron2": dict(_DETECTRON2, backbone="resnet101"),
    "resnext101_32x8d_fpn_detectron2": _X101_DETECTRON2,
    "resnet50_c4_detectron2": _C4_DETECTRON2,
    "resnet101_c4_detectron2": dict(_C4_DETECTRON2, backbone="resnet101"),
    "resnet50_dc5_detectron2": _DC5_DETECTRON2,
    "resnet101_dc5_detectron2": dict(_DC5_DETECTRON2, backbone="resnet101"),
    "resnet50_fpn_matterport": dict(_MATTERPORT, backbone="resnet50"),
    "resnet101_fpn_matterport": dict(_MATTERPORT, backbone="resnet101"),
    # Not in the paper: for training from scratch without a GPU.
    "resnet18_fpn_small": dict(backbone="resnet18", **_SMALL),
}
PRESETS = {
    **{f"mask_rcnn_{name}": fields for name, fields in _MASK_RCNN.items()},
    **{f"faster_rcnn_{name}": dict(fields, task="boxes") for name, fields in _MASK_RCNN.items()},
}


def preset_config(name, **overrides):
    """Returns the `MaskRCNNConfig` of a preset, with fields replaced by `overrides`.

    Raises:
        ValueError: if there is no such preset, or no such field.
    """
    if name not in PRESETS:
        raise ValueError(f"no such preset{_hint(name, PRESETS)} Received: preset={name!r}.")
    fields = [field.name for field in dataclasses.fields(MaskRCNNConfig)]
    for field in overrides:
        if field not in fields:
            raise ValueError(f"no such config field{_hint(field, fields)} Received: {field!r}.")
    return MaskRCNNConfig(**{**PRESETS[name], **overrides})


def _hint(name, known):
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}."
