"""The assembly page: from a config to the networks and RoI operations of Figure 4.

Every function makes one part of a model; `MaskRCNN` takes another one in its place.
"""

import keras

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.layers import heads
from keras_maskrcnn.layers.fpn import fpn
from keras_maskrcnn.layers.resnet import res5, resnet
from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_pool import RoICrop, RoIPool, RoIWarp
from keras_maskrcnn.levels import STRIDES, anchor_sizes, strides_of_rois
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork

NETWORKS = ("backbone", "res5", "fpn", "rpn_head", "box_head", "mask_head")


def build_backbone(config: MaskRCNNConfig) -> keras.Model:
    """Builds the backbone: images -> {"c2": (B, H / 4, W / 4, K), .. "c5"}, "c4" the last of C4."""
    return resnet(
        config.backbone,
        last_stage=4 if config.neck == "c4" else 5,
        dilated=config.neck == "dc5",
        pool_same=config.stem_pool_same,
        **_body(config),
    )


def build_neck(config: MaskRCNNConfig, backbone: keras.Model) -> keras.Model | None:
    """Builds what follows the backbone: FPN, {"c2".."c5"} -> {"p2".."p6"}; None without one.

    Args:
        config: `MaskRCNNConfig`.
        backbone: Keras model with a dict of maps as its output.
    """
    if config.neck != "fpn":
        return None
    levels = ("c2", "c3", "c4", "c5")
    _require_maps(config, "backbone", backbone, levels)
    maps = {name: backbone.output[name].shape[-1] for name in levels}
    return fpn(maps, channels=config.fpn_channels, norm=config.head_norm)


def build_rpn(config: MaskRCNNConfig, channels: int) -> RegionProposalNetwork | None:
    """Builds the first stage for maps of so many channels; None where proposals are given."""
    if config.proposals == "precomputed":
        return None
    head = heads.rpn_head(
        channels,
        num_anchors=len(anchor_sizes(config)[0]) * len(config.anchor_ratios),
        convs=config.rpn_head_convs,
        width=config.rpn_head_channels,
    )
    return RegionProposalNetwork(config, head)


def build_roi_heads(
    config: MaskRCNNConfig,
    channels: int,
    *,
    box_head: keras.Model | None = None,
    mask_head: keras.Model | None = None,
) -> RoIHeads | None:
    """Builds the second stage for maps of so many channels; None for an RPN alone.

    Args:
        config: `MaskRCNNConfig`.
        channels: int. Of the maps that RoIs are pooled from.
        box_head, mask_head: Keras models in place of the config's, see `RoIHeads`.
    """
    if config.task == "proposals":
        return None
    c4, size = config.neck == "c4", config.box_pool_size
    parts = {"box_align": _roi_layer(config, size, "box_align")}
    if c4:
        parts["res5"] = res5(
            config.backbone,
            channels=channels,
            size=size,
            stride=config.res5_stride,
            **_body(config),
        )
        _, _, size, channels = parts["res5"].output.shape
    parts["box_head"] = box_head or heads.box_head(
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
        size = size if c4 else config.mask_pool_size
        parts["mask_head"] = mask_head or _mask_head(config, channels, size)
    return RoIHeads(config, **parts)


def channels_of_maps(
    config: MaskRCNNConfig, backbone: keras.Model, neck: keras.Model | None = None
) -> int:
    """Returns how many channels the maps have that the RPN and the heads see.

    Raises:
        ValueError: if the backbone or the neck lacks one of these maps.
    """
    levels = STRIDES[config.neck]
    _require_maps(config, "backbone" if neck is None else "neck", neck or backbone, levels)
    return (neck or backbone).output[next(iter(levels))].shape[-1]


def _require_maps(config, name, network, needed):
    maps = getattr(network, "output", None)  # which only layers in a graph of Keras have
    if not isinstance(maps, dict):
        raise ValueError(
            f"the {name} must be a functional Keras model whose output is a dict of maps by name; "
            "keras.Model(inputs, layer(inputs)) makes one of another model or layer. "
            f"Received: {network!r}."
        )
    missing = [level for level in needed if level not in maps]
    if missing:
        raise ValueError(
            f"the {name} lacks maps for neck={config.neck!r}: {missing}. Received: {sorted(maps)}."
        )


def require_strides(
    config: MaskRCNNConfig, backbone: keras.Model, neck: keras.Model | None = None
) -> None:
    """Refuses maps of other strides than anchors and RoIs are computed for: nothing would fail.

    Raises:
        ValueError: if a map is more than two cells from the size that its stride makes.
    """
    rows, columns = (side or 1024 for side in backbone.input.shape[1:3])
    maps = backbone.compute_output_shape((None, rows, columns, 3))
    maps = maps if neck is None else neck.compute_output_shape(maps)
    for level, stride in STRIDES[config.neck].items():
        found = maps[level][1]
        if found is not None and abs(found - rows / stride) > 2:
            raise ValueError(
                f"the map {level!r} must have stride {stride} with neck={config.neck!r}. "
                f"Received: {found} rows for an image of {rows}."
            )


def _body(config):
    """What the stages of the backbone, res5 among them, have in common."""
    return {
        "norm": config.norm,
        "frozen_stages": config.frozen_stages,
        "width": config.backbone_width,
        "stride_in_1x1": config.stride_in_1x1,
        "epsilon": config.norm_epsilon,
    }


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
    strides = tuple(strides_of_rois(config.neck).values())
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
