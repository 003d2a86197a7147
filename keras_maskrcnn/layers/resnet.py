"""ResNet (He et al., 2016), as far as a detector needs it: the outputs of its four stages."""

import keras

from keras_maskrcnn.layers.conv import ConvNorm

# name: (blocks of res2..res5, whether a block is a bottleneck)
DEPTHS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}


def resnet(
    name,
    *,
    norm="frozen_batch",
    frozen_stages=2,
    width=64,
    stride_in_1x1=False,
    pool_same=False,
    epsilon=1e-5,
):
    """Builds a ResNet without its classifier.

    Args:
        name: str. One of `DEPTHS`.
        norm: str. As in `ConvNorm`.
        frozen_stages: int in 0..5. Stages that are not trained: the stem is 1, res2 is 2, ...
        width: int. Channels of the stem; res2 to res5 have 1, 2, 4 and 8 times as many inside.
        stride_in_1x1: bool. A bottleneck that halves does so in its first convolution (He et al.'s
            own weights, detectron2's), not in the 3x3 one (torchvision's).
        pool_same: bool. Whether the max-pool pads on the right and below only, as TensorFlow's
            "SAME" does for even sides, not on all sides.
        epsilon: float. Of the norms.

    Returns:
        A Keras model: (B, H, W, 3) float, normalized RGB -> {"c2": (B, H/4, W/4, ·), "c3", "c4",
        "c5"}, each half the size of the one before.
    """
    blocks, bottleneck = DEPTHS[name]
    images = keras.Input((None, None, 3), name="images")

    def conv(filters, size, stride, relu, **kwargs):
        return ConvNorm(filters, size, stride, norm, relu, epsilon=epsilon, **kwargs)

    x = conv(width, 7, 2, True, name="stem", trainable=frozen_stages < 1)(images)
    # Zeros cannot win after ReLU, so this is PyTorch's padding with -inf.
    x = keras.layers.ZeroPadding2D(((0, 1), (0, 1)) if pool_same else 1, name="pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool")(x)
    outputs = {}
    for stage, count in enumerate(blocks, start=2):
        for i in range(count):
            x = _block(
                x, width * 2 ** (stage - 2), 2 if i == 0 and stage > 2 else 1, bottleneck,
                stride_in_1x1, conv, trainable=frozen_stages < stage, name=f"res{stage}_{i}",
            )  # fmt: skip
        outputs[f"c{stage}"] = x
    return keras.Model(images, outputs, name=name)


def _block(x, width, stride, bottleneck, stride_in_1x1, conv, trainable, name):
    """One residual block."""

    def layer(filters, size, stride=1, relu=True, suffix=""):
        return conv(filters, size, stride, relu, trainable=trainable, name=f"{name}_{suffix}")

    channels = width * (4 if bottleneck else 1)
    shortcut = x
    if stride > 1 or x.shape[-1] != channels:
        shortcut = layer(channels, 1, stride, relu=False, suffix="shortcut")(x)
    if bottleneck:
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        x = layer(width, 1, first, suffix="conv1")(x)
        x = layer(width, 3, second, suffix="conv2")(x)
        x = layer(channels, 1, relu=False, suffix="conv3")(x)
    else:
        x = layer(width, 3, stride, suffix="conv1")(x)
        x = layer(width, 3, relu=False, suffix="conv2")(x)
    x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
    return keras.layers.ReLU(name=f"{name}_relu")(x)
