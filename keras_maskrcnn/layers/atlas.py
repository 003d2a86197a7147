"""Puts all levels of a feature pyramid into one map, and places boxes on it."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf


def cells_per_pixel(strides: Sequence[float]) -> tf.Tensor:
    """Returns 1 / strides as (L,) float32, to multiply boxes by.

    Multiplying is safer than dividing: in some graphs TensorFlow replaces a division by the
    constant 4 with a product with 0.24999999.
    """
    return tf.constant([1 / stride for stride in strides], tf.float32)


class Atlas(NamedTuple):
    """The levels of a pyramid laid out in one map, like the mipmaps of a texture.

    Each level has a border of one cell that repeats its edge. RoIAlign needs it: points up to one
    cell outside a level read the edge. Without the border, CropAndResize would read zeros or the
    neighboring level there.

    Attributes:
        cells: (B, N, K). All cells of all levels, finest level first.
        index: (Ha, Wa) int32. Which of the N cells lies where; arbitrary between levels.
        origins: (L, 2) int32. Row and column in the map of each level's cell (0, 0).
        sizes: (L, 2) int32. Rows and columns of each level.
    """

    cells: tf.Tensor
    index: tf.Tensor
    origins: tf.Tensor
    sizes: tf.Tensor

    def map(self) -> tf.Tensor:
        """Returns the map, (B, Ha, Wa, K)."""
        return tf.gather(self.cells, self.index, axis=1)


def pyramid_atlas(features: Sequence[tf.Tensor]) -> Atlas:
    """Lays out the levels: the first on the left, the others in a column to its right.

    Args:
        features: list of L (B, Hl, Wl, K), finest first.

    Returns:
        `Atlas`.
    """
    start, blocks = 0, []
    for level in features:
        height, width = tf.unstack(tf.shape(level)[1:3])
        rows = tf.clip_by_value(tf.range(-1, height + 1), 0, height - 1)
        columns = tf.clip_by_value(tf.range(-1, width + 1), 0, width - 1)
        blocks.append(start + rows[:, None] * width + columns)
        start += height * width
    depth = features[0].shape[-1]
    flat = [tf.reshape(level, [tf.shape(level)[0], -1, depth]) for level in features]
    cells, (first, *others) = tf.concat(flat, axis=1), blocks
    sizes = tf.stack([tf.shape(level)[1:3] for level in features])
    if not others:
        return Atlas(cells, first, tf.constant([[1, 1]]), sizes)
    width, top, column, origins = tf.shape(others[0])[1], 0, [], [(1, 1)]
    for block in others:
        origins.append((top + 1, tf.shape(first)[1] + 1))
        top += tf.shape(block)[0]
        column.append(tf.pad(block, [[0, 0], [0, width - tf.shape(block)[1]]]))
    height = tf.maximum(tf.shape(first)[0], top)
    sides = [
        tf.pad(side, [[0, height - tf.shape(side)[0]], [0, 0]])
        for side in (first, tf.concat(column, axis=0))
    ]
    origins = tf.stack([tf.stack(origin) for origin in origins])
    return Atlas(cells, tf.concat(sides, axis=1), origins, sizes)


class PlacedBoxes(NamedTuple):
    """N boxes on an atlas; positions are [y, x] in cells of its map.

    Attributes:
        image: (N,) int32. Index of the box's image in the batch.
        corner: (N, 2) float32. Upper left corner.
        bin_size: (N, 2) float32. Height and width of a bin.
        lowest: (N, 2) float32. Points below this read 0.
        highest: (N, 2) float32. Points above this read 0.
    """

    image: tf.Tensor
    corner: tf.Tensor
    bin_size: tf.Tensor
    lowest: tf.Tensor
    highest: tf.Tensor


def place_boxes(
    boxes: tf.Tensor,
    levels: tf.Tensor,
    atlas: Atlas,
    strides: Sequence[float],
    bins: int,
    aligned: bool,
    corners: bool,
    owners: tf.Tensor | None = None,
) -> PlacedBoxes:
    """Converts boxes from image pixels to cells of an atlas.

    Args:
        boxes, levels, strides, aligned, corners, owners: as in `roi_align.roi_align`.
        atlas: `Atlas`.
        bins: int. Bins per side of a box.

    Returns:
        `PlacedBoxes`: the boxes of all images, one after another.
    """
    if owners is None:
        owners = tf.repeat(tf.range(tf.shape(boxes)[0]), tf.shape(boxes)[1])
    boxes, levels = tf.reshape(boxes, [-1, 4]), tf.reshape(levels, [-1])
    cells = tf.gather(boxes, [1, 0, 3, 2], axis=1)  # TF wants [y1, x1, y2, x2]
    cells *= tf.gather(cells_per_pixel(strides), levels)[:, None]
    origin = tf.cast(tf.gather(atlas.origins, levels), tf.float32)
    sizes = tf.gather(tf.cast(atlas.sizes, tf.float32), levels)
    if corners:  # a map's first and last cell lie on the canvas's first and last pixel
        stride = tf.gather(tf.constant(strides, tf.float32), levels)[:, None]
        cells *= tf.tile((sizes - 1) / (sizes - 1 / stride), [1, 2])
        bin_size = (cells[:, 2:] - cells[:, :2]) / (bins - 1)
        corner = cells[:, :2] - bin_size / 2 + origin
    else:
        bin_size = (cells[:, 2:] - cells[:, :2]) / bins
        if not aligned:
            bin_size = tf.maximum(bin_size, 1 / bins)
        corner = cells[:, :2] - (0.5 if aligned else 0.0) + origin
    return PlacedBoxes(owners, corner, bin_size, origin - 1, origin + sizes)
