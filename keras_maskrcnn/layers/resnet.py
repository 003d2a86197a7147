"""ResNet (He et al., 2016) and ResNeXt (Xie et al., 2017) as backbones, without a classifier."""

from typing import NamedTuple

import keras

from keras_maskrcnn.layers.conv import ConvNorm


class Kind(NamedTuple):
    """The properties in which the networks differ.

    Attributes:
        blocks: number of blocks in res2..res5.
        bottleneck: whether a block has convolutions of 1x1, 3x3 and 1x1; otherwise two of 3x3.
        groups: of the 3x3 convolution in a bottleneck.
        widening: channels of this 3x3 convolution, as a multiple of a ResNet's.
    """

    blocks: tuple[int, ...]
    bottleneck: bool = True
    groups: int = 1
    widening: int = 1


class _Style(NamedTuple):
    """The properties that all blocks of a network share; see the arguments of `resnet`."""

    kind: Kind
    norm: str
    epsilon: float
    stride_in_1x1: bool


KINDS = {
    "resnet18": Kind((2, 2, 2, 2), bottleneck=False),
    "resnet34": Kind((3, 4, 6, 3), bottleneck=False),
    "resnet50": Kind((3, 4, 6, 3)),
    "resnet101": Kind((3, 4, 23, 3)),
    "resnext50_32x4d": Kind((3, 4, 6, 3), groups=32, widening=2),
    "resnext101_32x8d": Kind((3, 4, 23, 3), groups=32, widening=4),
}


def resnet(
    name: str,
    *,
    channels: int = 3,
    norm: str = "frozen_batch",
    frozen_stages: int = 2,
    width: int = 64,
    stride_in_1x1: bool = False,
    pool_same: bool = False,
    epsilon: float = 1e-5,
    last_stage: int = 5,
    dilated: bool = False,
) -> keras.Model:
    """Builds a ResNet or ResNeXt without its classifier.

    Args:
        name: str. As `backbone` of `MaskRCNNConfig`.
        channels: int C. Channels of the images.
        norm: str. As in `ConvNorm`.
        frozen_stages: int in 0..5. Number of stages that are not trained. The stem is the first
            stage, res2 the second, ...
        width: int. Channels of the stem. Inside their blocks, res2 to res5 have 1, 2, 4 and 8
            times as many.
        stride_in_1x1: bool. Where a bottleneck with stride 2 has its stride: in its first 1x1
            convolution (the weights of He et al. and detectron2), or else in the 3x3 one
            (torchvision).
        pool_same: bool. Whether the max-pool pads at the right and bottom only, as TensorFlow's
            "SAME" does for even sides. Otherwise it pads all four sides.
        epsilon: float. Epsilon of the norms.
        last_stage: 4 or 5. With 4, res5 is left out: C4 has it in its head, see `res5`.
        dilated: bool. Whether res5 dilates its 3x3 convolutions and keeps the resolution of c4
            (DC5, Dai et al., 2017).

    Returns:
        A Keras model: (B, H, W, C) float, normalized images -> {"c2": (B, H/4, W/4, ·), "c3", "c4",
            "c5"}. Each map has half the size of the one before; a dilated c5 has the size of c4.
    """
    style = _Style(KINDS[name], norm, epsilon, stride_in_1x1)
    images = keras.Input((None, None, channels), name="images")
    x = ConvNorm(
        width, 7, 2, norm, relu=True, epsilon=epsilon, name="stem", trainable=frozen_stages < 1
    )(images)
    # After ReLU no value is below 0, so padding with zeros equals PyTorch's padding with -inf.
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)) if pool_same else 1, name="pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool")(x)
    outputs = {}
    for stage in range(2, last_stage + 1):
        halves = stage > 2 and not (dilated and stage == 5)
        x = outputs[f"c{stage}"] = _stage(
            x,
            style,
            stage,
            width * 2 ** (stage - 2),
            stride=2 if halves else 1,
            dilation=2 if dilated and stage == 5 else 1,
            trainable=frozen_stages < stage,
        )
    return keras.Model(images, outputs, name=name)


def res5(
    name: str,
    *,
    channels: int,
    size: int,
    stride: int,
    norm: str = "frozen_batch",
    frozen_stages: int = 2,
    width: int = 64,
    stride_in_1x1: bool = False,
    epsilon: float = 1e-5,
) -> keras.Model:
    """Builds only the last stage, for the head of C4 (Figure 4, left).

    Args:
        channels: int. Channels of c4.
        size: int m. Bins per side of a RoI.
        stride: 1 (Figure 4) or 2 (detectron2).
        name, norm, frozen_stages, width, stride_in_1x1, epsilon: as in `resnet`.

    Returns:
        A Keras model: (R, m, m, channels) pooled from c4 -> (R, m / stride, m / stride, K), with
            as many channels as c5 of `resnet`.
    """
    style = _Style(KINDS[name], norm, epsilon, stride_in_1x1)
    rois = keras.Input((size, size, channels), name="rois")
    trainable = frozen_stages < 5
    features = _stage(rois, style, 5, width * 8, stride=stride, dilation=1, trainable=trainable)
    return keras.Model(rois, features, name="res5")


def _stage(x, style, stage, width, *, stride, dilation, trainable):
    """Adds one stage; only its first block has the stride."""
    for i in range(style.kind.blocks[stage - 2]):
        first = stride if i == 0 else 1
        x = _block(x, style, width, first, dilation, trainable, name=f"res{stage}_{i}")
    return x


def _block(x, style, width, stride, dilation, trainable, name):
    """Adds one residual block."""
    kind = style.kind

    def layer(filters, size, stride=1, relu=True, suffix="", **kwargs):
        return ConvNorm(
            filters,
            size,
            stride,
            style.norm,
            relu,
            epsilon=style.epsilon,
            trainable=trainable,
            name=f"{name}_{suffix}",
            **kwargs,
        )

    channels = width * (4 if kind.bottleneck else 1)
    shortcut = x
    if stride > 1 or x.shape[-1] != channels:
        shortcut = layer(channels, 1, stride, relu=False, suffix="shortcut")(x)
    if kind.bottleneck:
        inside = width * kind.widening
        first, second = (stride, 1) if style.stride_in_1x1 else (1, stride)
        x = layer(inside, 1, first, suffix="conv1")(x)
        x = layer(inside, 3, second, suffix="conv2", groups=kind.groups, dilation=dilation)(x)
        x = layer(channels, 1, relu=False, suffix="conv3")(x)
    else:
        x = layer(width, 3, stride, suffix="conv1", dilation=dilation)(x)
        x = layer(width, 3, relu=False, suffix="conv2", dilation=dilation)(x)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)
