"""Functions on boxes [x1, y1, x2, y2] in pixels, x2 and y2 exclusive, and on their deltas.

All are float32.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

# A side grows at most 1000 / 16 times. From the authors' code (Detectron); all peers use it.
MAX_LOG_SCALE = math.log(1000 / 16)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the areas of (..., 4) boxes as (...); 0 for boxes with a negative side."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def shorter_side(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the shorter sides of (..., 4) boxes as (...); negative if corners are swapped."""
    return tf.reduce_min(boxes[..., 2:] - boxes[..., :2], axis=-1)


def iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Computes the intersection over union (IoU) of each pair of boxes.

    Args:
        boxes_a: (..., N, 4) float32.
        boxes_b: (..., M, 4) float32.

    Returns:
        (..., N, M) float32 in [0, 1]; 0 if a box is empty.
    """
    intersection = _intersection(boxes_a, boxes_b)
    union = area(boxes_a)[..., None] + area(boxes_b)[..., None, :] - intersection
    return tf.math.divide_no_nan(intersection, union)


def ioa(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Computes which share of each first box lies in each second box (intersection over area).

    Args:
        boxes_a: (..., N, 4) float32.
        boxes_b: (..., M, 4) float32.

    Returns:
        (..., N, M) float32 in [0, 1]; 0 if a box is empty.
    """
    return tf.math.divide_no_nan(_intersection(boxes_a, boxes_b), area(boxes_a)[..., None])


def _intersection(boxes_a, boxes_b):
    """Returns the area that each pair of boxes has in common, (..., N, M)."""
    # x and y separately: one (..., N, M, 2) intermediate is far slower than two of (..., N, M).
    ax1, ay1, ax2, ay2 = (a[..., None] for a in tf.unstack(boxes_a, axis=-1))
    bx1, by1, bx2, by2 = (b[..., None, :] for b in tf.unstack(boxes_b, axis=-1))
    width = tf.maximum(tf.minimum(ax2, bx2) - tf.maximum(ax1, bx1), 0.0)
    height = tf.maximum(tf.minimum(ay2, by2) - tf.maximum(ay1, by1), 0.0)
    return width * height


def clip(boxes: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Moves corners outside an image onto its border.

    Args:
        boxes: (B, ..., 4) float32.
        sizes: (B, 2) number. Height and width of each image.

    Returns:
        (B, ..., 4) float32.
    """
    limits = tf.gather(tf.cast(sizes, tf.float32), [1, 0, 1, 0], axis=1)
    limits = tf.reshape(limits, [-1, *[1] * (boxes.shape.rank - 2), 4])
    return tf.clip_by_value(boxes, 0.0, limits)


def encode(
    boxes: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> tf.Tensor:
    """Computes the deltas from anchors to boxes (R-CNN, appendix C; Faster R-CNN Eq. 2).

    Args:
        boxes: (..., 4) float32.
        anchors: (..., 4) float32. Anchors, or proposals in the second stage.
        weights: 4 numbers. Factors of dx, dy, dw, dh.

    Returns:
        (..., 4) float32 [dx, dy, dw, dh]. Sides below 1e-6 px count as 1e-6, so that padding gives
            finite deltas.
    """
    sides, anchor_sides = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    sides, anchor_sides = tf.maximum(sides, 1e-6), tf.maximum(anchor_sides, 1e-6)
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2
    anchor_centers = (anchors[..., :2] + anchors[..., 2:]) / 2
    shifts = (centers - anchor_centers) / anchor_sides
    return tf.concat([shifts, tf.math.log(sides / anchor_sides)], axis=-1) * tf.constant(
        weights, tf.float32
    )


def decode(
    deltas: tf.Tensor, anchors: tf.Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)
) -> tf.Tensor:
    """Computes boxes from anchors and deltas: the inverse of `encode`.

    dw and dh are at most log(1000 / 16); greater ones are cut.

    Args:
        deltas: (..., 4) float. Leading dimensions broadcast with those of `anchors`.
        anchors: (..., 4) float32.
        weights: 4 numbers, as in `encode`.

    Returns:
        (..., 4) float32 boxes, not clipped to any image.
    """
    deltas = tf.cast(deltas, tf.float32) / tf.constant(weights, tf.float32)
    anchor_sides = anchors[..., 2:] - anchors[..., :2]
    centers = anchors[..., :2] + anchor_sides / 2 + deltas[..., :2] * anchor_sides
    half = tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * anchor_sides / 2
    return tf.concat([centers - half, centers + half], axis=-1)


def rescale(boxes: tf.Tensor, sizes: tf.Tensor, new_sizes: tf.Tensor) -> tf.Tensor:
    """Scales boxes with their images.

    Args:
        boxes: (B, N, 4) float32.
        sizes, new_sizes: (B, 2) int32. Height and width of each image before and after scaling.

    Returns:
        (B, N, 4) float32.
    """
    scale = tf.cast(new_sizes, tf.float32) / tf.cast(sizes, tf.float32)
    return boxes * tf.gather(scale, [1, 0, 1, 0], axis=1)[:, None]
