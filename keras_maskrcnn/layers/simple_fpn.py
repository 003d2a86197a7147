"""The simple feature pyramid of ViTDet (Li et al., 2022), from one map with stride 16."""

import keras

from keras_maskrcnn.layers.conv import ConvNorm

EPSILON = 1e-6  # of detectron2's LayerNorm


def _uniform():
    """PyTorch's default, within ±1 / sqrt(fan in), with which detectron2 trains this neck."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def simple_fpn(channels_in: int, *, channels: int = 256, norm: str = "layer") -> keras.Model:
    """Builds a pyramid without a top-down pathway (§3, Simple feature pyramid).

    Each level is made from the same map: by two deconvolutions, by one, by none, or by a max-pool.
    A 1x1 and a 3x3 convolution follow. This is detectron2's `SimpleFeaturePyramid`.

    Args:
        channels_in: int. Channels of the backbone's map "c4".
        channels: int. Output channels of each level.
        norm: str. Norm of the convolutions, as in `ConvNorm`. Between the two deconvolutions there
            is always a layer norm.

    Returns:
        A Keras model: {"c4"} -> {"p2".."p6"}. The sides of c4 must be even. The map p6 has every
            second cell of p5.
    """
    c4 = keras.Input((None, None, channels_in), name="c4")
    half = _up(c4, channels_in // 2, "up3")
    quarter = _up(c4, channels_in // 2, "up2a")
    quarter = keras.layers.LayerNormalization(epsilon=EPSILON, name="up2a_norm")(quarter)
    quarter = keras.layers.Activation("gelu", name="up2a_gelu")(quarter)
    quarter = _up(quarter, channels_in // 4, "up2b")
    down = keras.layers.MaxPooling2D(2, name="down5")(c4)
    outputs = {}
    for level, x in ((2, quarter), (3, half), (4, c4), (5, down)):
        for side, part in ((1, "lateral"), (3, "output")):
            x = ConvNorm(
                *(channels, side),
                norm=norm,
                epsilon=EPSILON if norm == "layer" else 1e-5,
                kernel_initializer=_uniform(),
                name=f"{part}{level}",
            )(x)
        outputs[f"p{level}"] = x
    outputs["p6"] = keras.layers.MaxPooling2D(1, 2, name="p6")(outputs["p5"])
    return keras.Model({"c4": c4}, outputs, name="simple_fpn")


def _up(x, filters, name):
    return keras.layers.Conv2DTranspose(filters, 2, 2, kernel_initializer=_uniform(), name=name)(x)
