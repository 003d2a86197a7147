"""The inputs of an ONNX graph: resizes, normalizes and pads images, as `batch` and the model do."""

from typing import NamedTuple

import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.native_onnx import resizing
from keras_maskrcnn.export.native_onnx.graph import (
    FLOAT,
    INT32,
    INT64,
    UINT8,
    UINT16,
    Graph,
    Value,
)
from keras_maskrcnn.ops import images as image_ops

_DTYPES = {"uint8": UINT8, "uint16": UINT16, "float32": FLOAT}


class Images(NamedTuple):
    """Images as the backbone takes them.

    Attributes:
        pixels: (B, N, H, W) float32, normalized, zero in padding; N is len(config.pixel_mean).
        sizes: (B, 2) int64. Height and width without padding.
        original_sizes: (B, 2) int64. Height and width before resizing.
        canvas: (2,) int64. H and W.
    """

    pixels: Value
    sizes: Value
    original_sizes: Value
    canvas: Value


def of_any_size(graph: Graph, config: MaskRCNNConfig, batch: int | str) -> Images:
    """Adds the input `images`, (B, H, W, C) of the config's dtype, for images of any size.

    Args:
        graph: Graph.
        config: MaskRCNNConfig.
        batch: int, or a name for a batch of any size.

    Returns:
        Images.
    """
    dtype, channels = _DTYPES[config.image_dtype], config.in_channels
    images = graph.input("images", dtype, [batch, "height", "width", channels])
    whole = image_ops.are_whole(config.image_dtype, config.pixel_max)
    with graph.scope("images"):
        pixels = images if whole else _scaled(images.cast(FLOAT), config)
        pixels = pixels.transpose(0, 3, 1, 2)
        original = graph.add("Concat", images.side(1), images.side(2), axis=0)
        size = resizing.resized_size(original, config)
        pixels = resizing.resize(pixels, original, size, config.resize_rule, whole)
        pixels = (pixels - _per_channel(config.pixel_mean)) / _per_channel(config.pixel_std)
        multiple = config.padding_multiple
        canvas = (size + (multiple - 1)) // multiple * multiple
        pads = graph.add("Concat", [0, 0, 0, 0, 0, 0], canvas - size, axis=0)
        pixels = graph.add("Pad", pixels, pads)
        each = graph.shape_of(images.side(0), 2)
        sizes, originals = (graph.add("Expand", x, each) for x in (size, original))
    return Images(pixels, sizes, originals, canvas)


def of_one_size(
    graph: Graph, config: MaskRCNNConfig, batch: int | str, image_size: tuple[int, int]
) -> Images:
    """Adds the inputs `images`, float32 (B, H, W, C), and `sizes`, int32 (B, 2).

    The client has resized and padded the images, which are in units of config.pixel_max.

    Args:
        graph: Graph.
        config: MaskRCNNConfig.
        batch: int, or a name for a batch of any size.
        image_size: (height, width), multiples of config.padding_multiple.

    Returns:
        Images.
    """
    images = graph.input("images", FLOAT, [batch, *image_size, config.in_channels])
    sizes = graph.input("sizes", INT32, [batch, 2])
    with graph.scope("images"):
        sizes = sizes.cast(INT64)
        pixels = _scaled(images, config).transpose(0, 3, 1, 2)
        pixels = (pixels - _per_channel(config.pixel_mean)) / _per_channel(config.pixel_std)
        height, width = (np.arange(side) for side in image_size)
        rows = (graph.value(height) < sizes.take([0], axis=1)).unsqueeze(1, 3)
        columns = (graph.value(width) < sizes.take([1], axis=1)).unsqueeze(1, 2)
        pixels = graph.where(rows & columns, pixels, 0.0)
    return Images(pixels, sizes, sizes, graph.value(list(image_size)))


def _scaled(pixels, config):
    """Does what `ops.images.scale_pixels` does with floats."""
    return pixels if config.pixel_max == 255 else pixels * (255 / config.pixel_max)


def _per_channel(values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)
