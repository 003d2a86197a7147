"""The backbones that a config can name, and the pixels that their published weights expect.

This is a table only: the runtimes import it, and must not need Keras. `backbones` builds the
networks.
"""

from typing import NamedTuple

RGB = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))  # ImageNet, as PyTorch's networks
SIGNED = ((127.5,) * 3, (127.5,) * 3)  # -1..1, as TensorFlow's networks
HALF = ((128.0,) * 3, (128.0,) * 3)  # Keras' EfficientNetV2-S, -M and -L


class Entry(NamedTuple):
    """A backbone.

    Attributes:
        source: "ours", "keras" (keras.applications) or "keras_hub" (the extra keras-hub).
        builder: name of the function or class in `source` that builds it; "" for ours.
        normalization: pixel_mean and pixel_std of its published weights, for R, G and B in 0..255.
    """

    source: str
    builder: str
    normalization: tuple[tuple[float, ...], tuple[float, ...]]


RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101"),
    *("resnext50_32x4d", "resnext101_32x8d"),
)
_KERAS = {
    "convnext_tiny": ("ConvNeXtTiny", RGB),
    "convnext_small": ("ConvNeXtSmall", RGB),
    "convnext_base": ("ConvNeXtBase", RGB),
    "densenet121": ("DenseNet121", RGB),
    "efficientnetv2_b0": ("EfficientNetV2B0", RGB),
    "efficientnetv2_b1": ("EfficientNetV2B1", RGB),
    "efficientnetv2_b2": ("EfficientNetV2B2", RGB),
    "efficientnetv2_b3": ("EfficientNetV2B3", RGB),
    "efficientnetv2_s": ("EfficientNetV2S", HALF),
    "mobilenetv2": ("MobileNetV2", SIGNED),
    "mobilenetv3_large": ("MobileNetV3Large", SIGNED),
    "nasnet_mobile": ("NASNetMobile", SIGNED),
    "resnet50v2": ("ResNet50V2", SIGNED),
    "xception": ("Xception", SIGNED),
}
_KERAS_HUB = {
    **{f"resnet_vd_{depth}": "ResNetBackbone" for depth in (18, 34, 50, 101)},
    **{f"{kind}_53": "CSPNetBackbone" for kind in ("csp_darknet", "darknet")},
    **{f"csp_{kind}_50": "CSPNetBackbone" for kind in ("resnet", "resnext")},
    **{f"mit_b{i}": "MiTBackbone" for i in range(4)},
    **{f"vitdet_{size}": "ViTDetBackbone" for size in ("base", "large", "huge")},
}
BACKBONES: dict[str, Entry] = {
    **{name: Entry("ours", "", RGB) for name in RESNETS},
    **{name: Entry("keras", *rest) for name, rest in _KERAS.items()},
    **{name: Entry("keras_hub", builder, RGB) for name, builder in _KERAS_HUB.items()},
}
"""Each value of `MaskRCNNConfig.backbone`."""

PLAIN = tuple(name for name in BACKBONES if name.startswith("vitdet_"))
"""Backbones with one map only, "c4" with stride 16."""


def normalization(backbone: str, in_channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns pixel_mean and pixel_std of a backbone for images of other than three bands, too.

    Args:
        backbone: str, one of `BACKBONES`.
        in_channels: int. Bands of an image.

    Returns:
        Two tuples. For one band they have three numbers: the band is repeated, as in RGB images
            of gray pictures. For two bands, each has the mean of the three. For four and more, the
            numbers of R, G and B repeat.
    """
    mean, std = BACKBONES[backbone].normalization
    return for_bands(mean, in_channels), for_bands(std, in_channels)


def for_bands(numbers: tuple[float, ...], in_channels: int) -> tuple[float, ...]:
    """Returns numbers of R, G and B for images of other bands, see `normalization`.

    Args:
        numbers: 3 numbers, such as pixel_mean.
        in_channels: int. Bands of an image.

    Returns:
        tuple of 3 numbers for one band, else of in_channels numbers.
    """
    if in_channels == 1:
        return numbers
    if in_channels == 2:
        return (sum(numbers) / 3,) * 2
    return (numbers * 11)[:in_channels]
