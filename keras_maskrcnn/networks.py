"""The assembly page: from a config to the networks and RoI operations of Figure 4."""

from keras_maskrcnn.layers import heads
from keras_maskrcnn.layers.fpn import fpn
from keras_maskrcnn.layers.resnet import res5, resnet
from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_pool import RoICrop, RoIPool, RoIWarp

STRIDES = {  # of the maps that the RPN sees; RoIs are pooled from the first four
    "fpn": {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64},
    "c4": {"c4": 16},
    "c5": {"c5": 32},
    "dc5": {"c5": 16},
}
NETWORKS = ("backbone", "res5", "fpn", "rpn_head", "box_head", "mask_head")


def anchor_sizes(config):
    """Returns a tuple of the sizes on each map of `STRIDES`: one each with FPN, else all."""
    sizes = config.anchor_sizes
    return tuple((size,) for size in sizes) if config.neck == "fpn" else (sizes,)


def build_networks(config):
    """Builds what a model consists of.

    Args:
        config: `MaskRCNNConfig`.

    Returns:
        dict of those of `NETWORKS` that the config has; "box_align" and "mask_align" are the RoI
        operations before the heads.
    """
    body = dict(
        norm=config.norm,
        frozen_stages=config.frozen_stages,
        width=config.backbone_width,
        stride_in_1x1=config.stride_in_1x1,
        epsilon=config.norm_epsilon,
    )
    c4 = config.neck == "c4"
    backbone = resnet(
        config.backbone,
        last_stage=4 if c4 else 5,
        dilated=config.neck == "dc5",
        pool_same=config.stem_pool_same,
        **body,
    )
    parts = {"backbone": backbone}
    maps = {name: x.shape[-1] for name, x in backbone.output.items()}
    if config.neck == "fpn":
        parts["fpn"] = fpn(maps, channels=config.fpn_channels, norm=config.head_norm)
        maps = dict.fromkeys(STRIDES["fpn"], config.fpn_channels)
    channels = maps[next(iter(STRIDES[config.neck]))]
    if config.proposals == "joint":
        num_anchors = len(anchor_sizes(config)[0]) * len(config.anchor_ratios)
        parts["rpn_head"] = heads.rpn_head(
            channels,
            num_anchors=num_anchors,
            convs=config.rpn_head_convs,
            width=config.rpn_head_channels,
        )
    if config.task == "proposals":
        return parts
    parts["box_align"] = _roi_layer(config, config.box_pool_size, "box_align")
    size = config.box_pool_size
    if c4:
        parts["res5"] = res5(config.backbone, size=size, stride=config.res5_stride, **body)
        _, _, size, channels = parts["res5"].output.shape
    parts["box_head"] = heads.box_head(
        channels,
        pool_size=size,
        units=config.box_head_units,
        num_classes=config.num_classes,
        convs=config.box_head_convs,
        layers=config.box_head_layers,
        norm=config.head_norm,
        init=config.head_init,
    )
    if config.task == "masks":
        parts["mask_align"] = _roi_layer(config, config.mask_pool_size, "mask_align")
        parts["mask_head"] = _mask_head(config, channels, size if c4 else config.mask_pool_size)
    return parts


def _mask_head(config, channels, size):
    num_masks = config.num_classes + (config.mask_loss == "softmax")
    num_masks = 1 if config.class_agnostic_masks else num_masks
    arguments = dict(pool_size=size, num_masks=num_masks, init=config.head_init)
    if config.mask_predictor == "mlp":
        return heads.mask_mlp(
            channels, layers=config.mask_mlp_layers, units=config.mask_mlp_units, **arguments
        )
    return heads.mask_head(
        channels,
        convs=config.mask_head_convs,
        width=config.mask_head_channels,
        norm=config.head_norm,
        **arguments,
    )


def _roi_layer(config, size, name):
    strides = tuple(STRIDES[config.neck].values())[:4]
    arguments = dict(
        canonical_size=config.canonical_roi_size, level_rule=config.roi_level_rule, name=name
    )
    sampling = dict(sampling_ratio=config.sampling_ratio, pooling=config.roi_pooling)
    if config.roi_op == "pool":
        return RoIPool(size, strides, **arguments)
    if config.roi_op == "crop":
        return RoICrop(size, strides, **arguments)
    if config.roi_op == "warp":
        return RoIWarp(size, strides, **sampling, **arguments)
    return RoIAlign(size, strides, aligned=config.roi_aligned, **sampling, **arguments)
