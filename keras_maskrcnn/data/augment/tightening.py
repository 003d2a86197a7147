"""Fits boxes to the remaining masks, and samples masks again in new boxes."""

import tensorflow as tf

from keras_maskrcnn.data.augment.examples import keep
from keras_maskrcnn.ops import mask_sampling
from keras_maskrcnn.typing import Tensors


def tighten(example: Tensors) -> Tensors:
    """Moves every box to the extent of its mask, and drops instances with empty masks."""
    boxes = fine_extents(example["masks"], example["boxes"])
    masks = recrop(example["masks"], example["boxes"], boxes)
    return keep({**example, "boxes": boxes, "masks": masks}, mass(example["masks"]) > 0)


def extents(masks: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Returns boxes around the cells with at least half the coverage of the fullest cell.

    The limit is half of the fullest cell and not of 255, so that a line thinner than a cell has an
    extent too.

    Returns:
        (n, 4) float32. For an empty mask, the box itself.
    """
    side = masks.shape[1]
    values = tf.cast(masks, tf.int32)
    covered = 2 * values >= tf.reduce_max(values, axis=[1, 2], keepdims=True)
    # A column counts for x if any row covers it, a row for y if any column covers it. (n, 2, M)
    lines = tf.stack([tf.reduce_any(covered, axis=1), tf.reduce_any(covered, axis=2)], axis=1)
    lines = tf.cast(lines, tf.int32)
    before = tf.argmax(lines, axis=2, output_type=tf.int32) / side
    behind = tf.argmax(lines[..., ::-1], axis=2, output_type=tf.int32) / side
    sides = boxes[:, 2:] - boxes[:, :2]
    low = boxes[:, :2] + tf.cast(before, tf.float32) * sides
    high = boxes[:, 2:] - tf.cast(behind, tf.float32) * sides
    return tf.concat([low, high], axis=1)


def fine_extents(masks: tf.Tensor, boxes: tf.Tensor) -> tf.Tensor:
    """Computes `extents` twice, the second time in the finer cells of masks sampled again."""
    rough = extents(masks, boxes)
    return extents(recrop(masks, boxes, rough), rough)


def recrop(masks: tf.Tensor, boxes: tf.Tensor, new_boxes: tf.Tensor) -> tf.Tensor:
    """Samples masks in other boxes. Returns (n, M, M) uint8."""
    side, count = masks.shape[1], tf.shape(masks)[0]
    sampled = mask_sampling.sample(masks, boxes, tf.range(count), new_boxes, side, side)
    return tf.cast(tf.round(sampled), tf.uint8)


def mass(masks: tf.Tensor) -> tf.Tensor:
    """Returns the sum of each mask's cells, (n,) float32."""
    return tf.reduce_sum(tf.cast(masks, tf.float32), axis=[1, 2])
