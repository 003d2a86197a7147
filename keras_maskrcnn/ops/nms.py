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
    across_classes: bool = False,
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
        across_classes: bool. Whether boxes of different classes suppress each other, too.

    Returns:
        A named tuple with TensorFlow's fields: nmsed_boxes (B, D, 4), nmsed_scores (B, D),
            nmsed_classes (B, D) float32, and valid_detections (B,) int32. Empty slots are zero.
    """
    if is_portable():
        return _portable(boxes, scores, count, iou, score_threshold, across_classes)
    if across_classes:
        return _across_classes(boxes, scores, count, iou, score_threshold)
    return tf.image.combined_non_max_suppression(
        boxes, scores, per_class, count, iou, score_threshold, clip_boxes=False
    )


def _across_classes(boxes, scores, count, iou, score_threshold):
    """Runs one NMS on the boxes of all classes.

    The combined operation with a single class keeps the same boxes, but does not say which they
    are, so their labels would be lost.
    """
    num_classes = scores.shape[2]
    boxes, scores = _flat(boxes, scores)

    def of_image(inputs):
        return tuple(
            tf.raw_ops.NonMaxSuppressionV4(
                boxes=inputs[0],
                scores=inputs[1],
                max_output_size=count,
                iou_threshold=iou,
                score_threshold=score_threshold,
                pad_to_max_output_size=True,
            )
        )

    with tf.device("CPU"):  # a GPU would need a bit for each pair of boxes
        kept, filled = tf.map_fn(
            of_image,
            (boxes, scores),
            fn_output_signature=(tf.TensorSpec([count], tf.int32), tf.TensorSpec([], tf.int32)),
        )
    real = tf.sequence_mask(filled, count)
    kept_scores = tf.where(real, tf.gather(scores, kept, batch_dims=1), 0.0)
    return _kept(boxes, kept, kept_scores, num_classes)


def _portable(boxes, scores, count, iou, score_threshold, across_classes):
    """Does the same with basic operations; it keeps the best box of all classes in each turn.

    TensorFlow's padded NMS would need N x N IoUs per class.
    """
    batch, num_classes = tf.shape(scores)[0], scores.shape[2]
    boxes, scores = _flat(boxes, scores)
    places, slots = tf.range(scores.shape[1]), tf.range(count)

    def keep_best(slot, left, kept, kept_scores):
        best = tf.argmax(left, axis=1, output_type=tf.int32)[:, None]
        overlaps = box_ops.iou(tf.gather(boxes, best, batch_dims=1), boxes)[:, 0]
        gone = overlaps > iou
        if not across_classes:
            gone &= places % num_classes == best % num_classes
        kept = tf.where(slots == slot, best, kept)
        kept_scores = tf.where(slots == slot, tf.reduce_max(left, axis=1)[:, None], kept_scores)
        return slot + 1, tf.where(gone | (places == best), 0.0, left), kept, kept_scores

    _, _, kept, kept_scores = tf.while_loop(
        lambda slot, left, *_: (slot < count) & (tf.reduce_max(left) > 0),
        keep_best,
        [
            0,
            tf.where(scores > score_threshold, scores, 0.0),
            tf.zeros([batch, count], tf.int32),
            tf.zeros([batch, count]),
        ],
    )
    return _kept(boxes, kept, kept_scores, num_classes)


def _flat(boxes, scores):
    """Reshapes boxes (B, N, C, 4) and scores (B, N, C) to (B, N * C, 4) and (B, N * C)."""
    batch, (size, num_classes) = tf.shape(scores)[0], scores.shape[1:]
    slots = -1 if size is None else size * num_classes
    return tf.reshape(boxes, [batch, slots, 4]), tf.reshape(scores, [batch, slots])


def _kept(boxes, kept, scores, num_classes):
    """Returns the boxes at places `kept` (B, D) with scores (B, D); a score of 0 is no box."""
    filled = tf.cast(scores > 0, tf.float32)
    return _Kept(
        tf.gather(boxes, kept, batch_dims=1) * filled[..., None],
        scores,
        tf.cast(kept % num_classes, tf.float32) * filled,
        tf.reduce_sum(tf.cast(filled, tf.int32), axis=1),
    )
