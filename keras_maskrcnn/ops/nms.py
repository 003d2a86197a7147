"""Non-maximum suppression (NMS), also for runtimes without TensorFlow's combined operation."""

import collections
from typing import Any

import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.portable import is_portable

_Kept = collections.namedtuple(
    "_Kept", ["nmsed_boxes", "nmsed_scores", "nmsed_classes", "valid_detections"]
)


def combined_non_max_suppression(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    per_class: int,
    count: int,
    iou: float,
    score_threshold: float,
) -> Any:
    """Does what `tf.image.combined_non_max_suppression` does, without clipping boxes to [0, 1].

    Args:
        boxes: (B, N, C, 4) float32. A separate box for each class.
        scores: (B, N, C) float32.
        per_class: int. Limit of the boxes kept per class; must be at least min(N, `count`).
        count: int D. Limit of the boxes kept in total.
        iou: float. If two boxes of a class have an IoU above this, the one with the lower score is
            dropped.
        score_threshold: float, at least 0. Boxes with scores up to this are dropped.

    Returns:
        A named tuple with TensorFlow's fields: nmsed_boxes (B, D, 4), nmsed_scores (B, D),
            nmsed_classes (B, D) float32, and valid_detections (B,) int32. Empty slots are zero.
    """
    if is_portable():
        return _portable(boxes, scores, count, iou, score_threshold)
    return tf.image.combined_non_max_suppression(
        boxes, scores, per_class, count, iou, score_threshold, clip_boxes=False
    )


def _portable(boxes, scores, count, iou, score_threshold):
    """Does the same with basic operations; it keeps the best box of all classes in each turn.

    TensorFlow's padded NMS would need N x N IoUs per class.
    """
    batch, (size, num_classes) = tf.shape(scores)[0], scores.shape[1:]
    boxes = tf.reshape(boxes, [batch, size * num_classes, 4])
    scores = tf.reshape(scores, [batch, size * num_classes])
    places, slots = tf.range(size * num_classes), tf.range(count)

    def keep_best(slot, left, kept, kept_scores):
        best = tf.argmax(left, axis=1, output_type=tf.int32)[:, None]
        overlaps = box_ops.iou(tf.gather(boxes, best, batch_dims=1), boxes)[:, 0]
        gone = (overlaps > iou) & (places % num_classes == best % num_classes)
        kept = tf.where(slots == slot, best, kept)
        kept_scores = tf.where(slots == slot, tf.reduce_max(left, axis=1)[:, None], kept_scores)
        return slot + 1, tf.where(gone | (places == best), 0.0, left), kept, kept_scores

    _, _, kept, scores = tf.while_loop(
        lambda slot, left, *_: (slot < count) & (tf.reduce_max(left) > 0),
        keep_best,
        [
            0,
            tf.where(scores > score_threshold, scores, 0.0),
            tf.zeros([batch, count], tf.int32),
            tf.zeros([batch, count]),
        ],
    )
    filled = tf.cast(scores > 0, tf.float32)
    return _Kept(
        tf.gather(boxes, kept, batch_dims=1) * filled[..., None],
        scores,
        tf.cast(kept % num_classes, tf.float32) * filled,
        tf.reduce_sum(tf.cast(filled, tf.int32), axis=1),
    )
