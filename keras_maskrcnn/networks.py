"""Builds the networks and RoI operations of Figure 4 from a config.

Each function builds one part of a model. `MaskRCNN` also takes a part of yours instead.
"""

import keras

from keras_maskrcnn import backbones
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.config_rules import PYRAMIDS
from keras_maskrcnn.layers import heads
from keras_maskrcnn.layers.fpn import fpn
from keras_maskrcnn.layers.resnet import res5, resnet
from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_pool import RoICrop, RoIPool, RoIWarp
from keras_maskrcnn.layers.simple_fpn import simple_fpn
from keras_maskrcnn.levels import STRIDES, anchor_sizes, maps_for, strides_of_rois
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork

NETWORKS = ("backbone", "res5", "fpn", "rpn_head", "box_head", "mask_head")


def build_backbone(config: MaskRCNNConfig) -> keras.Model:
    """Builds the backbone, from images to a dict of maps "c2".."c5".

    Its images have a channel for each number of config.pixel_mean: one band that comes with three
    numbers is normalized three times, as in an RGB image of it.

    Args:
        config: `MaskRCNNConfig`.

    Returns:
        Keras model. Its "c2" is (B, H / 4, W / 4, K). Each later map has half the side, but
            "c5" has that of "c4" with neck="dc5". With neck="c4" and "simple_fpn" there is no "c5".
    """
    if BACKBONES[config.backbone].source != "ours":
        return backbones.build(config)
    return resnet(
        config.backbone,
        channels=len(config.pixel_mean),
        last_stage=4 if config.neck in ("c4", "simple_fpn") else 5,
        dilated=config.neck == "dc5",
        pool_same=config.stem_pool_same,
        **_body(config),
    )


def build_neck(config: MaskRCNNConfig, backbone: keras.Model) -> keras.Model | None:
    """Builds the neck: FPN or a simple feature pyramid, to a dict of "p2".."p6".

    Args:
        config: `MaskRCNNConfig`.
        backbone: Keras model. Its output is a dict of maps.

    Returns:
        Keras model, from "c2".."c5" with neck="fpn", from "c4" with neck="simple_fpn"; None with
            another neck.

    Raises:
        ValueError: if the backbone lacks one of these maps.
    """
    if config.neck not in PYRAMIDS:
        return None
    levels = ("c4",) if config.neck == "simple_fpn" else ("c2", "c3", "c4", "c5")
    _require_maps(config, "backbone", backbone, levels)
    maps = {name: backbone.output[name].shape[-1] for name in levels}
    if config.neck == "simple_fpn":
        return simple_fpn(
            maps["c4"], channels=config.fpn_channels, norm=config.head_norm or "layer"
        )
    return fpn(maps, channels=config.fpn_channels, norm=config.head_norm)


def build_rpn(
    config: MaskRCNNConfig,
    channels: int,
    *,
    kind: type[RegionProposalNetwork] = RegionProposalNetwork,
) -> RegionProposalNetwork | None:
    """Builds the first stage.

    Args:
        config: `MaskRCNNConfig`.
        channels: int. Channels of the maps that the RPN gets.
        kind: class, `RegionProposalNetwork` or one derived from it.

    Returns:
        an object of `kind`; None with proposals="precomputed".
    """
    if config.proposals == "precomputed":
        return None
    head = heads.rpn_head(
        channels,
        num_anchors=len(anchor_sizes(config)[0]) * len(config.anchor_ratios),
        convs=config.rpn_head_convs,
        width=config.rpn_head_channels,
    )
    return kind(config, head)


def build_roi_heads(
    config: MaskRCNNConfig,
    channels: int,
    *,
    box_head: keras.Model | None = None,
    mask_head: keras.Model | None = None,
    kind: type[RoIHeads] = RoIHeads,
) -> RoIHeads | None:
    """Builds the second stage.

    Args:
        config: `MaskRCNNConfig`.
        channels: int. Channels of the maps that RoIs are pooled from.
        box_head: Keras model to use instead of the config's, see `RoIHeads`.
        mask_head: Keras model to use instead of the config's, see `RoIHeads`.
        kind: class, `RoIHeads` or one derived from it.

    Returns:
        an object of `kind`; None with task="proposals".
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
    return kind(config, **parts)


def channels_of_maps(
    config: MaskRCNNConfig, backbone: keras.Model, neck: keras.Model | None = None
) -> int:
    """Returns the number of channels of the maps that the RPN and the heads get.

    Args:
        config: `MaskRCNNConfig`.
        backbone: Keras model.
        neck: Keras model; None if there is none.

    Returns:
        int. All maps have the same number.

    Raises:
        ValueError: if the backbone or the neck lacks one of these maps.
    """
    levels = STRIDES[config.neck]
    _require_maps(config, "backbone" if neck is None else "neck", neck or backbone, levels)
    return (neck or backbone).output[next(iter(levels))].shape[-1]


def _require_maps(config, name, network, needed):
    maps = getattr(network, "output", None)  # only functional models and their layers have it
    if not isinstance(maps, dict):
        raise ValueError(
            f"the {name} must be a functional Keras model whose output is a dict of maps by name; "
            "make one from another model or layer with keras.Model(inputs, layer(inputs)). "
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
    """Refuses maps with wrong strides. Otherwise nothing would fail, but boxes would be wrong.

    Args:
        config: `MaskRCNNConfig`.
        backbone: Keras model.
        neck: Keras model; None if there is none.

    Raises:
        ValueError: if the backbone takes another number of channels than the config says. If the
            height of a map differs by more than 2 cells from image height / stride. If the neck
            fails with the backbone's maps.
    """
    channels, theirs = len(config.pixel_mean), backbone.input.shape[-1]
    if theirs not in (channels, None):
        raise ValueError(
            "the backbone must take as many channels as config.pixel_mean has numbers, "
            f"{channels}. Received: a backbone of {theirs} channels, with "
            f"in_channels={config.in_channels}."
        )
    rows, columns = (side or 1024 for side in backbone.input.shape[1:3])
    maps = backbone.compute_output_shape((None, rows, columns, channels))
    try:
        maps = maps if neck is None else neck.compute_output_shape(maps_for(neck, maps))
    except ValueError as error:  # FPN adds maps; Keras' message names neither
        found = {level: shape[1] for level, shape in maps.items()}
        raise ValueError(
            "the neck cannot join the backbone's maps: c2, c3, c4 and c5 need strides 4, 8, 16 and "
            f"32. Received: rows={found} for an image of {rows}."
        ) from error
    for level, stride in STRIDES[config.neck].items():
        found = maps[level][1]
        if found is not None and abs(found - rows / stride) > 2:
            raise ValueError(
                f"the map {level!r} must have stride {stride} with neck={config.neck!r}. "
                f"Received: {found} rows for an image of {rows}."
            )


def _body(config):
    """Returns the arguments that all stages of the backbone have in common, also res5."""
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
