"""Configs that have a name. A preset holds only what differs from the defaults of the config."""

from keras_maskrcnn.config import MaskRCNNConfig, suggestion
from keras_maskrcnn.config_rules import BACKBONES

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

    Args:
        name: str, one of `PRESETS`.
        **overrides: fields of the config.

    Raises:
        ValueError: if there is no such preset, or no such field, or a value is out of its range.
    """
    if name not in PRESETS:
        raise ValueError(f"no such preset{suggestion(name, PRESETS)} Received: preset={name!r}.")
    return MaskRCNNConfig.from_fields({**PRESETS[name], **overrides})
