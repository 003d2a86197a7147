"""Turns raw outputs into proposals, detections and masks, in training and at inference."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import mask_sampling
from keras_maskrcnn.ops.nms import combined_non_max_suppression
from keras_maskrcnn.ops.python import gradients_of_graph

# NMS ranks boxes by exp(logit / 4), which keeps the order of logits over the whole range. Logits
# themselves do not work: CombinedNonMaxSuppression confuses values at or below 0 with its padding.
# Sigmoid does not work either: all confident logits become 1.
_RANGE = 80.0


def _rank(logits):
    return tf.exp(tf.clip_by_value(tf.cast(logits, tf.float32), -_RANGE, _RANGE) / 4)


def _logits(ranks):
    return tf.math.log(ranks) * 4


def proposals(
    logits: Sequence[tf.Tensor],
    deltas: Sequence[tf.Tensor],
    anchors: Sequence[tf.Tensor],
    sizes: tf.Tensor,
    *,
    pre_nms: int,
    count: int,
    nms_iou: float = 0.7,
    min_size: float = 0.0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses proposals: top-k and NMS per level, then the best of all levels (FPN §4.1).

    No gradient flows through the results.

    Args:
        logits: list of L (B, Nl) float, one for each level.
        deltas: list of L (B, Nl, 4) float.
        anchors: list of L (Nl, 4) float32.
        sizes: (B, 2) int32. Height and width of each image without its padding.
        pre_nms: int. Boxes per level before NMS.
        count: int P. Boxes per image after NMS.
        nms_iou: float. If two boxes of one level have an IoU above this, the one with the lower
            score is dropped.
        min_size: float. Boxes with a side of this many pixels or fewer are dropped.

    Returns:
        boxes: (B, P, 4) float32 inside the images, by falling score; zeros in empty slots.
        scores: (B, P) float32 in [0, 1]; 0 in empty slots.
    """
    level_boxes, level_ranks = [], []
    for level_logits, level_deltas, level_anchors in zip(logits, deltas, anchors, strict=True):
        size = tf.minimum(pre_nms, tf.shape(level_logits)[1])
        best, indices = tf.math.top_k(level_logits, size)
        chosen = tf.gather(level_deltas, indices, batch_dims=1)
        boxes = box_ops.decode(chosen, tf.gather(level_anchors, indices))
        boxes = box_ops.clip(boxes, sizes)
        ranks = tf.where(box_ops.shorter_side(boxes) > min_size, _rank(best), 0.0)
        missing = pre_nms - size
        level_boxes.append(tf.pad(boxes, [[0, 0], [0, missing], [0, 0]]))
        level_ranks.append(tf.pad(ranks, [[0, 0], [0, missing]]))
    # Levels are passed as classes: one operation then suppresses within each level and merges all.
    kept = combined_non_max_suppression(
        tf.stack(level_boxes, axis=2),
        tf.stack(level_ranks, axis=2),
        pre_nms,
        count,
        nms_iou,
        score_threshold=0.0,
    )
    filled = tf.sequence_mask(kept.valid_detections, count)
    scores = tf.where(filled, tf.sigmoid(_logits(tf.where(filled, kept.nmsed_scores, 1.0))), 0.0)
    return tf.stop_gradient(kept.nmsed_boxes), tf.stop_gradient(scores)


def suppress(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    *,
    count: int,
    nms_iou: float,
    score_threshold: float,
    across_classes: bool = False,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Drops duplicates by NMS, and keeps the best boxes of all classes.

    Gradients flow through the boxes and scores that are kept.

    Args:
        boxes: (B, R, C, 4) float32. The box of each RoI for each class.
        scores: (B, R, C) float32 in [0, 1]; 0 where there is no box.
        count: int D. As in `detections`, as are the others.
        nms_iou: float.
        score_threshold: float.
        across_classes: bool.

    Returns:
        boxes, scores, labels and num_detections of `detections`.
    """
    boxes, scores, classes, num_detections = _kept(
        boxes, scores, count, nms_iou, score_threshold, across_classes
    )
    filled = tf.sequence_mask(num_detections, count)
    return boxes, scores, tf.where(filled, tf.cast(classes, tf.int32) + 1, 0), num_detections


def detections(
    class_logits: tf.Tensor,
    deltas: tf.Tensor,
    rois: tf.Tensor,
    sizes: tf.Tensor,
    *,
    delta_weights: Sequence[float],
    score_threshold: float,
    nms_iou: float,
    count: int,
    min_size: float = 0.0,
    class_thresholds: Sequence[float] = (),
    one_class: bool = False,
    across_classes: bool = False,
    suppress: Callable[..., Any] = suppress,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Computes the final boxes: boxes per class, NMS within each class, the best of all classes.

    See §3.1, Inference. Gradients flow through the boxes and scores that are kept.

    Args:
        class_logits: (B, R, C + 1) float, background first.
        deltas: (B, R, C, 4) float.
        rois: (B, R, 4) float32; boxes without area are padding.
        sizes: (B, 2) int32. Height and width of each image without its padding.
        delta_weights: 4 numbers, as in `boxes.encode`.
        score_threshold: float. Only scores above it are kept.
        nms_iou: float. If two boxes of one class have an IoU above this, the one with the lower
            score is dropped.
        count: int D. Detections per image.
        min_size: float. Boxes with a side of this many pixels or fewer are dropped before NMS.
        class_thresholds: C numbers, or none. Only boxes whose score reaches that of their class
            enter NMS.
        one_class: bool. Whether a RoI can only have its best class, which may be background.
        across_classes: bool. Whether boxes of different classes suppress each other, too: one NMS
            for all classes.
        suppress: function with the arguments and results of `suppress` in this module.

    Returns:
        boxes: (B, D, 4) float32 inside the images, by falling score; zeros in empty slots.
        scores: (B, D) float32 in [0, 1]; 0 in empty slots.
        labels: (B, D) int32 in 1..C; 0 in empty slots.
        num_detections: (B,) int32. Filled slots of each image.
    """
    scores = tf.nn.softmax(tf.cast(class_logits, tf.float32))
    if one_class:
        scores = tf.where(scores == tf.reduce_max(scores, axis=-1, keepdims=True), scores, 0.0)
    scores = scores[..., 1:]
    if class_thresholds:
        scores = tf.where(scores >= tf.constant(class_thresholds, tf.float32), scores, 0.0)
    boxes = box_ops.clip(box_ops.decode(deltas, rois[:, :, None], delta_weights), sizes)
    scores = tf.where(box_ops.shorter_side(boxes) > min_size, scores, 0.0)
    return suppress(
        boxes,
        scores,
        count=count,
        nms_iou=nms_iou,
        score_threshold=score_threshold,
        across_classes=across_classes,
    )


def mask_probabilities(logits: tf.Tensor, labels: tf.Tensor, kind: str = "sigmoid") -> tf.Tensor:
    """Computes the probabilities of each RoI's mask, for the class of the RoI (§3.1, Inference).

    Args:
        logits: float. As in `losses.mask_loss`.
        labels: (B, F) int32 in 1..C, 0 in empty slots.
        kind: str. As in `losses.mask_loss`.

    Returns:
        (B, F, m, m) float32 in [0, 1]; 0 in empty slots.
    """
    logits = tf.cast(logits, tf.float32)
    if kind == "softmax":
        masks = mask_sampling.of_class(tf.nn.softmax(logits)[..., 1:], labels)
    else:
        masks = tf.sigmoid(mask_sampling.of_class(logits, labels))
    return tf.where(labels[..., None, None] > 0, masks, 0.0)


def _kept(boxes, scores, count, nms_iou, score_threshold, across_classes):
    """NMS of boxes (B, R, C, 4) and scores (B, R, C), with gradients for those that are kept."""

    @tf.custom_gradient  # TensorFlow's NMS has no gradient
    def keep(boxes, scores):
        kept = combined_non_max_suppression(
            boxes, scores, count, count, nms_iou, score_threshold, across_classes
        )
        kept_boxes, kept_scores, classes, num_detections = kept

        def gradient(boxes_upstream, scores_upstream, *_):
            # Find the RoI of each kept box. The operation does not return it, and only gradients
            # need it.
            of_class = tf.cast(classes, tf.int32)
            found = tf.gather(tf.transpose(scores, [0, 2, 1]), of_class, batch_dims=1)
            equal = found == kept_scores[..., None]  # (B, D, R)
            found = tf.gather(tf.transpose(boxes, [0, 2, 1, 3]), of_class, batch_dims=1)
            equal &= tf.reduce_all(found == kept_boxes[:, :, None], axis=-1)
            roi = tf.argmax(tf.cast(equal, tf.int32), axis=2, output_type=tf.int32)
            image = tf.broadcast_to(tf.range(tf.shape(roi)[0])[:, None], tf.shape(roi))
            places = tf.stack([image, roi, of_class], axis=2)
            filled = tf.sequence_mask(num_detections, count)
            places = tf.boolean_mask(places, filled)
            return (
                tf.scatter_nd(places, tf.boolean_mask(boxes_upstream, filled), tf.shape(boxes)),
                tf.scatter_nd(places, tf.boolean_mask(scores_upstream, filled), tf.shape(scores)),
            )

        return (kept_boxes, kept_scores, classes, num_detections), gradient

    return gradients_of_graph(keep(boxes, scores))
