"""Every number of the model, in one place, with the section of the paper it comes from.

A preset is a difference from the defaults, which are the paper's Mask R-CNN with a
ResNet-50-FPN. Numbers of the optimizer and of the input pipeline are not model numbers: they are
in `training.Recipe` and `data.batches`.
"""

import dataclasses
import difflib
from dataclasses import dataclass

from keras_maskrcnn import config_rules
from keras_maskrcnn.aliases import moved


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
        for name, value in list(vars(self).items()):
            if isinstance(value, list):  # JSON has no tuples
                object.__setattr__(self, name, tuple(value))
        config_rules.check(self)

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


def suggestion(name, known):
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
