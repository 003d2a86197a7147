"""Anchors (Faster R-CNN §3.1.1; with one scale per level, FPN §4.1)."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def cell_anchors(
    sizes: Sequence[float], ratios: Sequence[float], rounded: bool = False
) -> np.ndarray:
    """Makes the anchors of one cell, centered on the origin.

    Args:
        sizes: sequence of A float. Square roots of the anchors' areas, in pixels.
        ratios: sequence of R float. Height divided by width.
        rounded: bool. Whether to round corners to integers, half to even, as torchvision does.

    Returns:
        (A * R, 4) float32 NumPy array: all ratios of the first size, then of the second, ...
            (detectron2's order).
    """
    sizes, ratios = np.asarray(sizes, np.float64)[:, None], np.sqrt(ratios)[None]
    half_width, half_height = (sizes / ratios).ravel() / 2, (sizes * ratios).ravel() / 2
    corners = np.stack([-half_width, -half_height, half_width, half_height], axis=1)
    return (np.round(corners) if rounded else corners).astype(np.float32)


def level_anchors(
    height: int | tf.Tensor,
    width: int | tf.Tensor,
    stride: int | tf.Tensor,
    sizes: Sequence[float],
    ratios: Sequence[float],
    rounded: bool = False,
) -> tf.Tensor:
    """Makes the anchors of one feature map, centered on `stride` times the cell's index.

    Args:
        height, width: int or () int32. Size of the map in cells.
        stride: int, or (2,) int32. Image pixels per cell, in y and x.
        sizes, ratios, rounded: as in `cell_anchors`.

    Returns:
        (height * width * A * R, 4) float32, ordered by row, then column, then anchor of the cell.
    """
    stride_y, stride_x = tf.unstack(tf.broadcast_to(stride, [2]))
    ys = tf.cast(tf.range(height) * stride_y, tf.float32)
    xs = tf.cast(tf.range(width) * stride_x, tf.float32)
    ys, xs = tf.meshgrid(ys, xs, indexing="ij")
    shifts = tf.stack([xs, ys, xs, ys], axis=-1)
    anchors = shifts[:, :, None] + cell_anchors(sizes, ratios, rounded)
    return tf.reshape(anchors, [-1, 4])
