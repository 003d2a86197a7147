"""Anchors (Faster R-CNN §3.1.1; FPN §4.1: one scale a level)."""

import numpy as np
import tensorflow as tf


def cell_anchors(sizes, ratios):
    """Anchors around the origin.

    Args:
        sizes: sequence of A float. Square roots of the anchors' areas, in pixels.
        ratios: sequence of R float. Height over width.

    Returns:
        (A * R, 4) float32 NumPy array, size outermost (detectron2's order).
    """
    sizes, ratios = np.asarray(sizes, np.float64)[:, None], np.sqrt(ratios)[None]
    half_width, half_height = (sizes / ratios).ravel() / 2, (sizes * ratios).ravel() / 2
    corners = [-half_width, -half_height, half_width, half_height]
    return np.stack(corners, axis=1).astype(np.float32)


def level_anchors(height, width, stride, sizes, ratios):
    """Anchors of one feature map, centred on `stride` times the cell's index.

    Args:
        height, width: int or () int32. Cells of the map.
        stride: int. Image pixels per cell.
        sizes, ratios: as in `cell_anchors`.

    Returns:
        (height * width * A * R, 4) float32: row by row, cell by cell, then the cell's anchors.
    """
    ys = tf.cast(tf.range(height) * stride, tf.float32)
    xs = tf.cast(tf.range(width) * stride, tf.float32)
    ys, xs = tf.meshgrid(ys, xs, indexing="ij")
    shifts = tf.stack([xs, ys, xs, ys], axis=-1)
    anchors = shifts[:, :, None] + cell_anchors(sizes, ratios)
    return tf.reshape(anchors, [-1, 4])
