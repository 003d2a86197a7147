"""The networks of the RPN (Faster R-CNN §3.1), box and mask heads (Figure 4, left and right)."""

import keras

from keras_maskrcnn.layers.conv import HE_NORMAL, XAVIER, ConvNorm
from keras_maskrcnn.layers.upsample import upsample_and_predict


def _normal(stddev):
    return keras.initializers.RandomNormal(stddev=stddev)


def _dense(init, stddev=None):
    """Makes the initializer of a Dense layer; `stddev` is detectron2's value for predictors."""
    if init == "torchvision":  # PyTorch's default: uniform within ±1 / sqrt(fan in)
        return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return XAVIER.clone() if stddev is None else _normal(stddev)


def rpn_head(channels: int, *, num_anchors: int, convs: int = 1, width: int = 0) -> keras.Model:
    """Builds the RPN head, shared by all levels.

    Args:
        channels: int. Channels of the feature maps.
        num_anchors: int A. Anchors per cell.
        convs: int. 3x3 convolutions: 1 in the paper, 2 in torchvision's v2.
        width: int. Channels of these convolutions; 0 means `channels`.

    Returns:
        A Keras model: (B, H, W, channels) -> logits (B, H, W, A), deltas (B, H, W, 4 A). The four
            deltas of an anchor are adjacent channels.
    """
    features = keras.Input((None, None, channels), name="features")
    x = features
    for i in range(1, convs + 1):
        x = ConvNorm(
            width or channels, 3, relu=True, kernel_initializer=_normal(0.01), name=f"conv{i}"
        )(x)
    logits = ConvNorm(num_anchors, 1, kernel_initializer=_normal(0.01), name="logits")(x)
    deltas = ConvNorm(num_anchors * 4, 1, kernel_initializer=_normal(0.01), name="deltas")(x)
    return keras.Model(features, [logits, deltas], name="rpn_head")


def box_head(
    channels: int,
    *,
    pool_size: int,
    units: int,
    num_classes: int,
    convs: int = 0,
    layers: int = 2,
    norm: str = "",
    init: str = "detectron2",
) -> keras.Model:
    """Builds the box head: fully connected layers, two with FPN (FPN §4.2; Figure 4, right).

    Args:
        channels: int. Channels of a RoI.
        pool_size: int m. Bins per side of a RoI.
        units: int. Width of the fully connected layers.
        num_classes: int C, without background.
        convs: int. 3x3 convolutions before the fully connected layers: 4 in torchvision's v2.
        layers: int. Fully connected layers; with 0, the RoI is averaged (C4; Figure 4, left).
        norm: str. Norm of the convolutions, as in `ConvNorm`.
        init: "detectron2" or "torchvision". The library whose initializers the Dense layers use.

    Returns:
        A Keras model: (R, m, m, channels) -> class logits (R, C + 1), background first, and deltas
            (R, C, 4).
    """
    rois = x = keras.Input((pool_size, pool_size, channels), name="rois")
    for i in range(1, convs + 1):
        x = ConvNorm(channels, 3, norm=norm, relu=True, name=f"conv{i}")(x)
    if layers:
        x = keras.layers.Flatten(name="flatten")(x)
    else:
        x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    for i in range(1, layers + 1):
        x = keras.layers.Dense(
            units, activation="relu", kernel_initializer=_dense(init), name=f"fc{i}"
        )(x)
    logits = keras.layers.Dense(
        num_classes + 1, kernel_initializer=_dense(init, 0.01), name="class_logits"
    )(x)
    deltas = keras.layers.Dense(
        num_classes * 4, kernel_initializer=_dense(init, 0.001), name="box_deltas"
    )(x)
    deltas = keras.layers.Reshape((num_classes, 4), name="deltas")(deltas)
    return keras.Model(rois, [logits, deltas], name="box_head")


def mask_head(
    channels: int,
    *,
    pool_size: int,
    convs: int,
    width: int,
    num_masks: int,
    norm: str = "",
    init: str = "detectron2",
) -> keras.Model:
    """Builds the convolutional mask head (Figure 4): 3x3 convolutions, upsampling by 2, 1x1.

    Args:
        channels: int. Channels of a RoI.
        pool_size: int. Bins per side of a RoI; a mask has twice as many cells per side.
        convs: int. 3x3 convolutions before the upsampling: 4 with FPN, 0 with C4.
        width: int. Channels of the convolutions and of the upsampling.
        num_masks: int K. Masks per RoI.
        norm: str. Norm of the convolutions, as in `ConvNorm`.
        init: "detectron2" or "torchvision". The library whose initializer the last layer uses.

    Returns:
        A Keras model: (R, pool_size, pool_size, channels) -> logits (R, 2 pool_size, 2 pool_size,
            K).
    """
    rois = x = keras.Input((pool_size, pool_size, channels), name="rois")
    for i in range(1, convs + 1):
        x = ConvNorm(width, 3, norm=norm, relu=True, name=f"conv{i}")(x)

    def predict(cells):
        last = _normal(0.001) if init == "detectron2" else HE_NORMAL.clone()
        return ConvNorm(num_masks, 1, kernel_initializer=last, name="logits")(cells)

    return keras.Model(rois, upsample_and_predict(x, width, predict), name="mask_head")


def mask_mlp(
    channels: int,
    *,
    pool_size: int,
    layers: int,
    units: int,
    num_masks: int,
    init: str = "detectron2",
) -> keras.Model:
    """Builds the mask head of fully connected layers (MLP) of Table 2e.

    Args:
        channels, pool_size, num_masks: as in `mask_head`.
        layers: int. Hidden layers: 2 or 3 in the paper.
        units: int. Width of the hidden layers.
        init: "detectron2" or "torchvision". The library whose initializers all layers use.

    Returns:
        A Keras model, as `mask_head` returns.
    """
    rois = keras.Input((pool_size, pool_size, channels), name="rois")
    x = keras.layers.Flatten(name="flatten")(rois)
    for i in range(1, layers + 1):
        x = keras.layers.Dense(
            units, activation="relu", kernel_initializer=_dense(init), name=f"fc{i}"
        )(x)
    side = 2 * pool_size
    logits = keras.layers.Dense(
        side * side * num_masks, kernel_initializer=_dense(init, 0.001), name="logits"
    )(x)
    logits = keras.layers.Reshape((side, side, num_masks), name="masks")(logits)
    return keras.Model(rois, logits, name="mask_head")
