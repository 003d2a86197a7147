"""Feature Pyramid Network (Lin et al., 2017)."""

from collections.abc import Mapping

import keras

from keras_maskrcnn.layers.conv import XAVIER, ConvNorm


def fpn(channels_in: Mapping[str, int], *, channels: int = 256, norm: str = "") -> keras.Model:
    """Builds the top-down pathway with lateral connections (FPN §3).

    Args:
        channels_in: dict of c2..c5 to int. Channels of the backbone's maps.
        channels: int. Output channels of each level.
        norm: str. As in `ConvNorm`.

    Returns:
        A Keras model: {"c2".."c5"} -> {"p2".."p6"}. The sides of c2 must be multiples of 8, so
            that an upsampled map has the size of the next finer one. The map p6 has every second
            cell of p5 (FPN §4.1).
    """
    inputs = {
        name: keras.Input((None, None, count), name=name) for name, count in channels_in.items()
    }
    outputs, top = {}, None
    for level in (5, 4, 3, 2):
        x = ConvNorm(
            channels, 1, norm=norm, kernel_initializer=XAVIER.clone(), name=f"lateral{level}"
        )(inputs[f"c{level}"])
        if top is not None:
            up = keras.layers.UpSampling2D(2, name=f"up{level + 1}")(top)
            x = keras.layers.Add(name=f"merge{level}")([x, up])
        top = x
        outputs[f"p{level}"] = ConvNorm(
            channels, 3, norm=norm, kernel_initializer=XAVIER.clone(), name=f"output{level}"
        )(x)
    outputs["p6"] = keras.layers.MaxPooling2D(1, 2, name="p6")(outputs["p5"])
    return keras.Model(inputs, {f"p{i}": outputs[f"p{i}"] for i in range(2, 7)}, name="fpn")
