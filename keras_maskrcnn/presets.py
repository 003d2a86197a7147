"""Named configs: those of the paper, of each peer, and a small one.

A preset holds only the fields that differ from the defaults of `MaskRCNNConfig`. The prefix
`mask_rcnn_` stands for Mask R-CNN, `faster_rcnn_` for the same model without masks.
"""

from typing import Any

from keras_maskrcnn.catalog import BACKBONES, PLAIN, RESNETS, for_bands
from keras_maskrcnn.config import MaskRCNNConfig, suggestion

# The paper (Figure 4, Table 2a). ResNet-18 and -34 are for machines without a GPU.

_C4_FIELDS = dict(  # Figure 4, left; §3.1: 64 RoIs, 300 proposals; RPN as in Faster R-CNN
    neck="c4",
    train_pre_nms=12000,
    test_pre_nms=6000,
    test_proposals=300,
    roi_batch=64,
    mask_pool_size=7,
    box_head_layers=0,
    mask_head_convs=0,
)
_PAPER: dict[str, dict[str, Any]] = {
    **{f"{backbone}_fpn": dict(backbone=backbone) for backbone in RESNETS},
    **{f"{backbone}_c4": dict(_C4_FIELDS, backbone=backbone) for backbone in RESNETS},
}

# The paper's Mask R-CNN with FPN on other backbones.

_KERAS: dict[str, dict[str, Any]] = {
    f"{name}_fpn": dict(backbone=name)
    for name, entry in BACKBONES.items()
    if entry.source != "ours" and name not in PLAIN
}

# ViTDet as in detectron2 (projects/ViTDet/configs/COCO/mask_rcnn_vitdet_b_100ep.py): square images,
# a simple pyramid, layer norm, 2 convolutions in the RPN's head, 4 and 1 dense layer for boxes.

_VITDET: dict[str, dict[str, Any]] = {
    f"{name}_simple_fpn": dict(
        backbone=name,
        neck="simple_fpn",
        image_min_side=1024,
        image_max_side=1024,
        padding_multiple=1024,
        frozen_stages=0,
        stochastic_depth=depth,
        head_norm="layer",
        rpn_head_convs=2,
        box_head_convs=4,
        box_head_layers=1,
        sampling_ratio=0,
        roi_loss_divisor="sampled",
        train_proposals=1000,
        rpn_box_beta=0.0,
        box_beta=0.0,
    )
    for name, depth in zip(PLAIN, (0.1, 0.4, 0.5), strict=True)
}

# torchvision, where it differs from the paper or from detectron2, see docs/parity.md.

_TORCHVISION_FIELDS = dict(
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
_TORCHVISION = {
    # norm_epsilon: torchvision sets 0 for the COCO weights that it publishes. For checkpoints that
    # you trained in torchvision use 1e-5.
    "resnet50_fpn_torchvision": dict(_TORCHVISION_FIELDS, norm_epsilon=0.0),
    "resnet50_fpn_torchvision_v2": dict(
        _TORCHVISION_FIELDS,
        norm="batch",
        head_norm="batch",
        rpn_head_convs=2,
        box_head_convs=4,
        box_head_layers=1,
    ),
}

# detectron2, but with images in RGB: our importer reverses the first convolution's channels.

_DETECTRON2_FIELDS = dict(
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(1.0, 1.0, 1.0),  # detectron2 subtracts means and does not divide
    stride_in_1x1=True,
    sampling_ratio=0,
    roi_loss_divisor="sampled",
    train_proposals=1000,
    rpn_box_beta=0.0,
    box_beta=0.0,
)
_DETECTRON2_C4_FIELDS = {
    **_C4_FIELDS,
    **_DETECTRON2_FIELDS,
    "padding_multiple": 1,
    "train_proposals": 2000,
    "test_proposals": 1000,
    "roi_batch": 512,
    "box_pool_size": 14,
    "mask_pool_size": 14,
    "res5_stride": 2,
}
_DETECTRON2_DC5_FIELDS = {
    **_DETECTRON2_FIELDS,
    "neck": "dc5",
    "padding_multiple": 1,
    "train_pre_nms": 12000,
    "test_pre_nms": 6000,
    "train_proposals": 2000,
}
_DETECTRON2 = {
    "resnet50_fpn_detectron2": _DETECTRON2_FIELDS,
    "resnet101_fpn_detectron2": dict(_DETECTRON2_FIELDS, backbone="resnet101"),
    # Unlike detectron2's ResNets, its ResNeXt divides by standard deviations, and halves maps in
    # the 3x3 convolution.
    "resnext101_32x8d_fpn_detectron2": {
        **_DETECTRON2_FIELDS,
        "backbone": "resnext101_32x8d",
        "pixel_std": (58.395, 57.12, 57.375),
        "stride_in_1x1": False,
    },
    "resnet50_c4_detectron2": _DETECTRON2_C4_FIELDS,
    "resnet101_c4_detectron2": dict(_DETECTRON2_C4_FIELDS, backbone="resnet101"),
    "resnet50_dc5_detectron2": _DETECTRON2_DC5_FIELDS,
    "resnet101_dc5_detectron2": dict(_DETECTRON2_DC5_FIELDS, backbone="resnet101"),
}

# Matterport's Mask_RCNN, except what our importer handles, see docs/parity.md.

_MATTERPORT_FIELDS = dict(
    image_max_side=1024,
    pixel_mean=(123.7, 116.8, 103.9),
    pixel_std=(1.0, 1.0, 1.0),
    resize_rule="torchvision",
    stride_in_1x1=True,
    stem_pool_same=True,
    anchor_rule="matterport",
    anchor_ratios=(2.0, 1.0, 0.5),  # Matterport's 0.5, 1, 2 are width / height
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
_MATTERPORT = {
    "resnet50_fpn_matterport": dict(_MATTERPORT_FIELDS, backbone="resnet50"),
    "resnet101_fpn_matterport": dict(_MATTERPORT_FIELDS, backbone="resnet101"),
}

# Our preset for training from scratch without a GPU, and for small objects (docs/deviations.md).

_SMALL = {
    "resnet18_fpn_small": dict(
        backbone="resnet18",
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
    ),
}

_ALL: dict[str, dict[str, Any]] = {
    **_PAPER,
    **_TORCHVISION,
    **_DETECTRON2,
    **_MATTERPORT,
    **_SMALL,
    **_KERAS,
    **_VITDET,
}
PRESETS: dict[str, dict[str, Any]] = {
    **{f"mask_rcnn_{name}": fields for name, fields in _ALL.items()},
    **{f"faster_rcnn_{name}": dict(fields, task="boxes") for name, fields in _ALL.items()},
}
"""Name of each preset, and the fields in which it differs from the defaults of `MaskRCNNConfig`."""


def preset_config(name: str, **overrides: Any) -> MaskRCNNConfig:
    """Returns the `MaskRCNNConfig` of a preset, with fields replaced by `overrides`.

    Args:
        name: str, one of `PRESETS`.
        **overrides: fields of the config, for instance `num_classes=3`. With another `in_channels`,
            the preset's pixel_mean and pixel_std repeat as `catalog.for_bands` says.

    Returns:
        The `MaskRCNNConfig`.

    Raises:
        ValueError: if there is no such preset or field, or a value is out of its range.
    """
    if name not in PRESETS:
        raise ValueError(f"no such preset{suggestion(name, PRESETS)} Received: preset={name!r}.")
    fields, channels = dict(PRESETS[name]), overrides.get("in_channels", 3)
    if channels in range(1, 33):  # else the config's rules refuse it
        pixels = {"pixel_mean", "pixel_std"} & fields.keys()
        fields |= {name: for_bands(fields[name], channels) for name in pixels}
    return MaskRCNNConfig.from_fields({**fields, **overrides})


def preset_of(config: MaskRCNNConfig) -> str | None:
    """Returns the preset that a config comes from; None if other fields than its classes differ.

    The thresholds of the classes are among these.

    Args:
        config: MaskRCNNConfig.

    Returns:
        str or None.
    """
    names = ("num_classes", "class_names", "category_ids", "class_thresholds")
    classes = {name: getattr(config, name) for name in names}
    return next((name for name in PRESETS if preset_config(name, **classes) == config), None)
