"""Every number of the model, in one place, with the section of the paper that it comes from.

The defaults are the paper's Mask R-CNN with a ResNet-50-FPN; `presets.py` has others, and
`config_rules.py` what values are allowed. Numbers of the optimizer and of the input pipeline are in
`training.Recipe` and `data.batches`.
"""

import ast
import dataclasses
import difflib
import inspect
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Self

from keras_maskrcnn import config_rules
from keras_maskrcnn.aliases import moved


@dataclass(frozen=True)
class MaskRCNNConfig:
    """A Mask R-CNN (Figure 4).

    Below each field is what it does, its unit, and in brackets its source. Sections, tables and
    figures are those of Mask R-CNN (He et al., 2017), or of the paper that is named. The peers
    are torchvision, detectron2 and Matterport's Mask_RCNN: see docs/parity.md.

    Raises:
        ValueError: if a value is out of its range, or two values contradict each other.
    """

    # Which parts there are

    task: str = "masks"
    """What the model predicts. "masks": boxes and masks (Mask R-CNN). "boxes": no mask branch, all
    else the same (Faster R-CNN; Table 3). "proposals": the RPN alone."""

    proposals: str = "joint"
    """Where proposals come from. "joint": the model's own RPN. "precomputed": they are given with
    the images, and there is no RPN (Fast R-CNN)."""

    # Classes

    num_classes: int = 80
    """Classes, without background (COCO has 80). Label 0 is background."""

    class_names: tuple[str, ...] = ()
    """Name of each class: class_names[i - 1] is that of label i. Empty: "class 1", "class 2", and
    so on (our convention)."""

    category_ids: tuple[int, ...] = ()
    """Id of each class in the annotation file, in the order of class_names (COCO's category_id).
    Empty: the labels, 1 to num_classes."""

    # Input

    image_min_side: int = 800
    """Images are resized until their shorter side has this many pixels (§3.1, Training)."""

    image_max_side: int = 1333
    """Most pixels that a resized image's longer side may have; it wins over image_min_side
    (detectron2's and torchvision's number)."""

    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Mean of R, G and B, which is subtracted from images; in units of pixel values, 0 to 255
    (ImageNet's mean)."""

    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """What R, G and B are divided by after pixel_mean is subtracted; in units of pixel values, 0 to
    255 (ImageNet's standard deviation; detectron2's ResNets: 1, 1, 1)."""

    resize_rule: str = "detectron2"
    """Whose way of resizing images. "detectron2": sizes are rounded half up, and images antialiased
    as Pillow does. "torchvision": sizes are rounded down, without antialiasing."""

    padding_multiple: int = 32
    """Both sides of an image are padded, on the right and below, to a multiple of this many pixels.
    FPN needs a multiple of 32, the stride of P5 (detectron2's size divisibility)."""

    # Backbone and neck

    neck: str = "fpn"
    """Which maps the RPN and the heads see (§3, Network Architecture). "fpn": the pyramid P2 to P6.
    "c4": C4 of stride 16; res5 is part of the head. "c5": C5 of stride 32 (Table 2d). "dc5": C5
    dilated to stride 16 (detectron2's DC5)."""

    backbone: str = "resnet50"
    """The network that computes features (§3, Network Architecture). ResNet-18 and -34 are not in
    the paper; they suit machines without a GPU."""

    backbone_width: int = 64
    """Channels of the backbone's first convolution; all stages are multiples of it (He et al.,
    2016: 64). Fewer make a smaller network, without ImageNet weights."""

    stride_in_1x1: bool = False
    """Where a stage's first bottleneck halves the map: in its first 1x1 convolution (the authors'
    and detectron2's ResNets), or else in its 3x3 convolution (torchvision's)."""

    stem_pool_same: bool = False
    """Whether the backbone's max-pool is padded on the right and below only, as TensorFlow's "SAME"
    (Matterport), or else on all sides (torchvision, detectron2)."""

    norm: str = "frozen_batch"
    """Normalization in the backbone. "frozen_batch": batch norm as a fixed affine layer (§3.1
    follows Faster R-CNN). "batch": trained batch norm. "group": group norm of 32 groups (Wu & He,
    2018). "": none, with biases instead."""

    norm_epsilon: float = 1e-5
    """Added to the variance by the backbone's norms (PyTorch's default: 1e-5; torchvision's first
    COCO weights: 0)."""

    frozen_stages: int = 2
    """Stages of the backbone that are not trained, counted from the input: 1 is the stem alone, 2
    the stem and res2, and so on; 0 trains all (detectron2's FREEZE_AT)."""

    fpn_channels: int = 256
    """Channels of each map of the pyramid (FPN §3: 256)."""

    head_norm: str = ""
    """Normalization in the convolutions of FPN and heads. "": none (the paper). "batch": as
    torchvision's v2. "group": group norm of 32 groups (Wu & He, 2018)."""

    # Anchors

    anchor_sizes: tuple[float, ...] = (32.0, 64.0, 128.0, 256.0, 512.0)
    """Square roots of the anchors' areas, in pixels of the resized image. With FPN 5, one each for
    P2 to P6 (FPN §4.1); with another neck all are on one map (§3.1: 5 scales)."""

    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Shapes of the anchors, each height / width (§3.1: 3 aspect ratios)."""

    anchor_rule: str = "detectron2"
    """Whose details of anchors. "detectron2": exact. "torchvision": corners are rounded to pixels,
    and strides fit the padded image. "matterport": boxes include their last pixel."""

    # RPN: which anchors are trained

    rpn_head_convs: int = 1
    """3x3 convolutions of the RPN's head (Faster R-CNN §3.1: 1; torchvision's v2: 2)."""

    rpn_head_channels: int = 0
    """Channels of the 3x3 convolutions of the RPN's head; 0: those of the map that it reads (FPN
    §4.1; Matterport: 512)."""

    rpn_positive_iou: float = 0.7
    """An anchor of at least this IoU with an object is positive; so is the best anchor of each
    object (Faster R-CNN §3.1.2)."""

    rpn_negative_iou: float = 0.3
    """An anchor is negative if its IoU with each object is below this (Faster R-CNN §3.1.2)."""

    rpn_batch: int = 256
    """Anchors per image that get a loss (Faster R-CNN §3.1.3)."""

    rpn_positive_fraction: float = 0.5
    """At most this fraction of rpn_batch are positive anchors (Faster R-CNN §3.1.3: 1:1)."""

    rpn_loss_divisor: str = "slots"
    """What the RPN's losses are divided by. "slots": rpn_batch per image (detectron2). "sampled":
    the number of anchors that were sampled, which may be smaller (torchvision)."""

    # RPN: which boxes become proposals

    rpn_nms_iou: float = 0.7
    """Of two proposals of a level with an IoU above this, the lower-scored one is dropped (Faster
    R-CNN §3.3)."""

    rpn_joint_nms: bool = False
    """Whether all levels share one top-k and one NMS (Matterport), or else each level has its own
    (FPN's authors, detectron2, torchvision)."""

    rpn_min_size: float = 0.0
    """A proposal is dropped if a side of it has this many pixels or less (torchvision: 0.001)."""

    train_pre_nms: int = 2000
    """Boxes per level that enter NMS in training (detectron2's number)."""

    train_proposals: int = 2000
    """Proposals per image after NMS in training (FPN §5.2)."""

    test_pre_nms: int = 1000
    """Boxes per level that enter NMS at inference (detectron2's number)."""

    test_proposals: int = 1000
    """Proposals per image after NMS at inference (§3.1, Inference: 1000 with FPN, 300 with C4)."""

    # RoIs that the heads are trained on

    roi_batch: int = 512
    """RoIs per image that the heads are trained on (§3.1, Training: 512 with FPN, 64 with C4)."""

    roi_positive_fraction: float = 0.25
    """At most this fraction of roi_batch are positive RoIs (§3.1, Training: 1:3)."""

    roi_positive_iou: float = 0.5
    """A RoI of at least this IoU with an object is positive, others are background (§3.1,
    Training)."""

    roi_loss_divisor: str = "slots"
    """What the box head's losses are divided by. "slots": roi_batch per image. "sampled": the
    number of RoIs that were sampled, which may be smaller (torchvision, detectron2)."""

    # Pooling of RoIs

    canonical_roi_size: float = 224.0
    """A RoI of this size, the square root of its area in pixels, is pooled from P4; one of half the
    size from P3, and so on (FPN Eq. 1)."""

    roi_level_rule: str = "detectron2"
    """How the level of FPN Eq. 1 is rounded. "detectron2" and "torchvision": down, with different
    guards against rounding errors. "matterport": to the nearest level."""

    box_pool_size: int = 7
    """Bins per side of a RoI for the box head (Figure 4, right: 7)."""

    mask_pool_size: int = 14
    """Bins per side of a RoI for the mask head (Figure 4); masks have twice as many cells per side.
    With neck="c4" it must be box_pool_size: both branches see the same RoI."""

    roi_op: str = "align"
    """How a RoI is pooled (Table 2c). "align": RoIAlign, without rounding. "pool": RoIPool rounds
    RoI and bins to whole cells. "warp": RoIWarp rounds the RoI only. "crop": Matterport's, one
    point per bin, the outermost at the RoI's corners."""

    roi_pooling: str = "average"
    """How the points of a bin become one value, "average" or "max" (§3, RoIAlign). With
    roi_op="pool" it must be "max"."""

    sampling_ratio: int = 2
    """Points per side of a bin, so 2 means 4 points (§3, RoIAlign). 0: as many as the bin has cells
    of the map (detectron2)."""

    roi_aligned: bool = True
    """Whether a map's value i lies at i + 0.5 cells (detectron2's ROIAlignV2), or else at i
    (torchvision)."""

    box_delta_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    """Factors of the box head's targets dx, dy, dw, dh, to bring them near a variance of 1 (Fast
    R-CNN §2.3; numbers of its code, detectron2 and torchvision)."""

    # Heads

    res5_stride: int = 1
    """Stride of res5 in the head, with neck="c4" (Figure 4: 1, for RoIs of 7 x 7; detectron2: 2,
    for RoIs of 14 x 14)."""

    box_head_convs: int = 0
    """3x3 convolutions of the box head, before its fully connected layers (Figure 4: 0;
    torchvision's v2: 4)."""

    box_head_layers: int = 2
    """Fully connected layers of the box head (Figure 4, right: 2). 0: the RoI is averaged instead
    (C4; Figure 4, left)."""

    box_head_units: int = 1024
    """Units of each fully connected layer of the box head (Figure 4, right: 1024)."""

    mask_predictor: str = "fcn"
    """What predicts masks (Table 2e). "fcn": convolutions. "mlp": fully connected layers."""

    mask_head_convs: int = 4
    """3x3 convolutions of the mask head (Figure 4: 4 with FPN, 0 with C4)."""

    mask_head_channels: int = 256
    """Channels of the mask head's 3x3 convolutions and of the upsampling after them (Figure 4:
    256)."""

    mask_mlp_layers: int = 2
    """Hidden layers of the mask head with mask_predictor="mlp" (Table 2e: 2 or 3)."""

    mask_mlp_units: int = 1024
    """Units of each hidden layer of the mask head with mask_predictor="mlp" (Table 2e: 1024)."""

    class_agnostic_masks: bool = False
    """Whether a RoI has one mask for all classes, or else one for each class (§4.1, Class-Specific
    vs. Class-Agnostic Masks)."""

    head_init: str = "detectron2"
    """Whose initial weights the heads have. "detectron2": predictors begin with small ones.
    "torchvision": PyTorch's defaults, which are larger."""

    # Losses

    rpn_box_beta: float = 1 / 9
    """Loss of the RPN's boxes: smooth L1 is quadratic for differences of deltas below this, and
    linear above; 0: L1 (Fast R-CNN Eq. 3: 1; the authors' later code and torchvision: 1/9;
    detectron2: 0)."""

    box_beta: float = 1.0
    """Loss of the box head: smooth L1 is quadratic for differences of deltas below this, and linear
    above; 0: L1 (Fast R-CNN Eq. 3: 1; torchvision: 1/9; detectron2: 0)."""

    mask_loss: str = "sigmoid"
    """Loss of the masks (Table 2b). "sigmoid": each class has its own mask. "softmax": the classes
    of a pixel compete."""

    soft_mask_targets: bool = False
    """Whether a cell's mask target is the fraction that the object covers (torchvision), or else 0
    or 1 (§3: binary masks; detectron2)."""

    # Inference

    one_class_per_roi: bool = False
    """Whether only the best class of a RoI can become a detection (Matterport), or else each class
    above score_threshold (Fast R-CNN, detectron2, torchvision)."""

    score_threshold: float = 0.05
    """Detections have a score above this (detectron2's and torchvision's number; the paper gives
    none)."""

    nms_iou: float = 0.5
    """Of two detections of a class with an IoU above this, the lower-scored one is dropped
    (detectron2's and torchvision's number)."""

    box_min_size: float = 0.0
    """A detection is dropped before NMS if a side of it has this many pixels or less (torchvision:
    0.01)."""

    detections_per_image: int = 100
    """Most detections per image, those of highest score (§3.1, Inference)."""

    mask_paste: str = "detectron2"
    """Whose way of resizing a mask into its box. "detectron2": the box is exact. "torchvision": it
    is rounded to whole pixels."""

    def __post_init__(self) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, name, tuple(value))
        config_rules.check(self)

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Makes a config of what a file says.

        Args:
            fields: dict of names of fields to values; what is missing has its default, as in files
                of earlier versions.

        Raises:
            ValueError: as the constructor, and if it is no dict or there is no such field.
        """
        if not isinstance(fields, dict):
            raise ValueError(
                f"a config must be a dict of fields. Received: config={config_rules.shown(fields)}."
            )
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = suggestion(name[:80], known)
                raise ValueError(
                    f"no such config field{hint} Received: {config_rules.shown(name)}."
                )
        return cls(**fields)

    def names(self) -> tuple[str, ...]:
        """Returns a tuple of `num_classes` class names, `class 1`, ... where none were given."""
        return self.class_names or tuple(f"class {i + 1}" for i in range(self.num_classes))

    def resizing(self) -> dict[str, Any]:
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

    def ids(self) -> tuple[int, ...]:
        """Returns a tuple of `num_classes` category ids, 1, 2, ... where none were given."""
        return self.category_ids or tuple(range(1, self.num_classes + 1))


def field_docs() -> dict[str, str]:
    """Returns a dict of each field's name to the docstring below it, in one line.

    Python does not keep these docstrings: they are read from the source file. Without the file,
    as in a program packed into one, the dict is empty.
    """
    try:
        source = inspect.getsource(MaskRCNNConfig)
    except OSError:
        return {}
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    pairs = zip(definition.body, definition.body[1:], strict=False)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(doc.value).split())
        for field, doc in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr)
    }


def suggestion(name: str, known: Collection[str]) -> str:
    """Returns the end of an error about an unknown name: a similar one that is known, or all."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}."


__getattr__ = moved(
    __name__,
    {
        "PRESETS": "keras_maskrcnn.presets:PRESETS",
        "preset_config": "keras_maskrcnn.presets:preset_config",
        "RULES": "keras_maskrcnn.config_rules:RULES",
        "BACKBONES": "keras_maskrcnn.config_rules:BACKBONES",
        "NECKS": "keras_maskrcnn.config_rules:NECKS",
        "NORMS": "keras_maskrcnn.config_rules:NORMS",
        "PEERS": "keras_maskrcnn.config_rules:PEERS",
    },
)
