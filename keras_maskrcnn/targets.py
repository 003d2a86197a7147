"""Training targets: labels of anchors, sampled RoIs, masks of RoIs."""

from collections.abc import Sequence

import tensorflow as tf

from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import mask_sampling
from keras_maskrcnn.typing import Tensors

IGNORED_IOA = 0.5
"""Share of a box that must lie in an ignored region so that the box is no background.

MMDetection's `ignore_iof_thr` has this value where it is set.
"""


def with_a_slot(values: tf.Tensor) -> tf.Tensor:
    """Adds an empty slot of zeros to annotations (B, G, ...) if G is 0.

    Anchors and RoIs that match no object then still have a box to read: without area, label 0.
    """
    missing = tf.maximum(1 - tf.shape(values)[1], 0)
    return tf.pad(values, [[0, 0], [0, missing], *[[0, 0]] * (len(values.shape) - 2)])


def without_empty_slots(gt: Tensors) -> Tensors:
    """Cuts off the slots that no image of the batch fills. At least one slot remains.

    The image with the most instances in a data set may have ten times as many as most images. To
    match anchors with empty slots would cost more than a stage of the backbone.

    Args:
        gt: dict of tensors (B, G, ...), including labels (B, G) int32, 0 in empty slots.

    Returns:
        dict of tensors (B, G', ...); `ignored` (B, K, 4) as it is.
    """
    filled = tf.reduce_any(gt["labels"] > 0, axis=0)
    slots = tf.range(1, tf.size(filled) + 1)
    count = tf.maximum(tf.reduce_max(tf.where(filled, slots, 0)), 1)
    slots = {name: with_a_slot(value)[:, :count] for name, value in gt.items() if name != "ignored"}
    return {**gt, **slots}


def without_filling(labels: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Sets labels to -2 in added images (`replicas.not_empty`). No loss counts these slots.

    Args:
        labels: (B, N) int32.
        sizes: (B, 2) int32. 0 x 0 for added images.

    Returns:
        (B, N) int32.
    """
    return tf.where(sizes[:, :1] > 0, labels, -2)


def sampling_noise(
    shape: tf.Tensor | Sequence[tf.Tensor], step: tf.Tensor | int, stream: int
) -> tf.Tensor:
    """Draws the random numbers that decide which anchors or RoIs of an image have a loss.

    They depend only on the step and on the image's place in the batch of all replicas. A resumed
    run therefore draws the same numbers as an uninterrupted one, and two replicas the same as one.
    A longer row begins with the numbers of a shorter row, so the number of slots does not matter.

    Args:
        shape: (2,) int32, or a pair: B, N.
        step: () int32. Number of batches trained on before.
        stream: int. 0 for anchors, 1 for RoIs.

    Returns:
        (B, N) float32 in [0, 1).
    """
    batch, count = tf.unstack(tf.convert_to_tensor(shape))
    return tf.map_fn(
        lambda image: tf.random.stateless_uniform([count], [step, 2 * image + stream]),
        replicas.first_image(batch) + tf.range(batch),
        fn_output_signature=tf.TensorSpec([None], tf.float32),
    )


def anchor_labels(
    anchors: tf.Tensor, gt_boxes: tf.Tensor, *, positive_iou: float = 0.7, negative_iou: float = 0.3
) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels anchors as object or background (Faster R-CNN §3.1.2).

    An anchor is positive if its IoU with a box is at least `positive_iou`, or if it has the highest
    IoU of all anchors with a box (ties included). The others are negative if their IoU with every
    box is below `negative_iou`.

    Args:
        anchors: (N, 4) float32.
        gt_boxes: (B, G, 4) float32; boxes without area are padding.
        positive_iou: float in [0, 1].
        negative_iou: float in [0, 1].

    Returns:
        labels: (B, N) int32. 1 positive, 0 negative, -1 ignored. All 0 if there are no boxes.
        matched: (B, N) int32 in [0, G). The box that each anchor overlaps most; 0 if G is 0.
    """
    gt_boxes = with_a_slot(gt_boxes)
    iou = box_ops.iou(anchors[None], gt_boxes)  # (B, N, G)
    best = tf.reduce_max(iou, axis=2)
    best_of_box = tf.reduce_max(iou, axis=1, keepdims=True)
    is_best = tf.reduce_any((iou == best_of_box) & (best_of_box > 0), axis=2)
    labels = tf.where(best < negative_iou, 0, -1)
    labels = tf.where(is_best | (best >= positive_iou), 1, labels)
    return labels, tf.argmax(iou, axis=2, output_type=tf.int32)


def without_ignored(labels: tf.Tensor, boxes: tf.Tensor, ignored: tf.Tensor | None) -> tf.Tensor:
    """Takes the boxes in ignored regions out of the background: they are neither 1 nor 0.

    Boxes that match an object stay positive, because the object in the region is known. Matterport
    treats crowds like this, but ignores each box that touches one.

    Args:
        labels: (B, N) int32. 1 positive, 0 negative, -1 ignored.
        boxes: (B, N, 4) or (N, 4) float32.
        ignored: (B, K, 4) float32, regions; those without area are padding. None if there are none.

    Returns:
        (B, N) int32. -1 instead of 0 where at least `IGNORED_IOA` of the box lies in one region.
    """
    if ignored is None:
        return labels
    inside = tf.reduce_any(box_ops.ioa(boxes, ignored) >= IGNORED_IOA, axis=2)
    return tf.where((labels == 0) & inside, -1, labels)


def sample(
    labels: tf.Tensor, noise: tf.Tensor, count: int, max_positives: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws a fixed number of slots with at most `max_positives` positives. Positives come first.

    Args:
        labels: (B, N) int32. 1 positive, 0 negative, -1 never drawn.
        noise: (B, N) float32 in [0, 1). The slots with the highest numbers are drawn.
        count: int. Slots per image.
        max_positives: int in 1..count.

    Returns:
        indices: (B, count) int32 in [0, N); 0 in empty slots.
        labels: (B, count) int32. 1, 0, or -1 where there were not enough to fill the slot.
    """
    size = tf.shape(labels)[1]
    top = tf.math.top_k(tf.where(labels == 1, noise, -1.0), tf.minimum(max_positives, size)).values
    drawn = (labels == 1) & (noise >= top[:, -1:])
    keys = tf.where(drawn, noise + 2.0, tf.where(labels == 0, noise + 1.0, 0.0))
    keys, indices = tf.math.top_k(keys, tf.minimum(count, size))
    missing = [[0, 0], [0, count - tf.shape(keys)[1]]]
    keys, indices = tf.pad(keys, missing), tf.pad(indices, missing)
    keys, indices = tf.ensure_shape(keys, [None, count]), tf.ensure_shape(indices, [None, count])
    # Batch norm in the heads sees the boxes of empty slots. They must not be padding boxes, because
    # the number of these depends on the image with the most objects in the batch.
    indices = tf.where(keys > 0, indices, 0)
    return indices, tf.where(keys >= 2.0, 1, tf.where(keys >= 1.0, 0, -1))


def sample_rois(
    proposals: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    noise: tf.Tensor,
    *,
    count: int,
    positive_fraction: float = 0.25,
    positive_iou: float = 0.5,
    ignored: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Samples the RoIs that the heads are trained on (§3.1, Training).

    Ground-truth boxes are added to the proposals, so that there are positives from the first step
    on (Fast R-CNN's code; every peer).

    Args:
        proposals: (B, P, 4) float32; boxes without area are padding.
        gt_boxes: (B, G, 4) float32.
        gt_labels: (B, G) int32 in 1..C, 0 in padding.
        noise: (B, P + G) float32 in [0, 1). As in `sample`.
        count: int S. RoIs per image.
        positive_fraction: float. At most this fraction of S is positive.
        positive_iou: float. A RoI is positive if its IoU with a box is at least this.
        ignored: (B, K, 4) float32, or None. As in `without_ignored`.

    Returns:
        rois: (B, S, 4) float32.
        labels: (B, S) int32 in 1..C, 0 background, -1 empty slot. Positives come first. There are
            at most max(1, int(S * positive_fraction)).
        matched: (B, S) int32 in [0, G). The box that each RoI overlaps most; 0 if G is 0.
    """
    gt_boxes, gt_labels = with_a_slot(gt_boxes), with_a_slot(gt_labels)
    boxes = tf.concat([proposals, gt_boxes], axis=1)
    noise = tf.pad(noise, [[0, 0], [0, tf.shape(boxes)[1] - tf.shape(noise)[1]]])
    iou = box_ops.iou(boxes, gt_boxes)
    matched = tf.argmax(iou, axis=2, output_type=tf.int32)
    positive = tf.reduce_max(iou, axis=2) >= positive_iou
    labels = tf.where(box_ops.area(boxes) > 0, tf.cast(positive, tf.int32), -1)
    labels = without_ignored(labels, boxes, ignored)
    max_positives = max(1, int(count * positive_fraction))
    indices, labels = sample(labels, noise, count, max_positives)
    matched = tf.gather(matched, indices, batch_dims=1)
    classes = tf.gather(gt_labels, matched, batch_dims=1)
    labels = tf.where(labels == 1, classes, labels)
    return tf.gather(boxes, indices, batch_dims=1), labels, matched


def recalled(proposals: tf.Tensor, gt_boxes: tf.Tensor, iou: float = 0.5) -> tf.Tensor:
    """Finds the boxes that a proposal overlaps. The heads can only learn and find these.

    Args:
        proposals: (B, P, 4) float32.
        gt_boxes: (B, G, 4) float32.
        iou: float. The smallest IoU that counts.

    Returns:
        (B, G) bool; False for boxes without area.
    """
    return tf.reduce_max(box_ops.iou(proposals, gt_boxes), axis=1) >= iou


def mask_targets(
    rois: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_masks: tf.Tensor,
    matched: tf.Tensor,
    size: int,
    samples: int = 2,
    soft: bool = False,
) -> tf.Tensor:
    """Computes the part of the matched mask that lies in each RoI (§3: their intersection).

    Args:
        rois: (B, F, 4) float32.
        gt_boxes: (B, G, 4) float32.
        gt_masks: (B, G, M, M) uint8 in 0..255. Each fills its box.
        matched: (B, F) int32 in [0, G).
        size: int m. Cells per side of the targets.
        samples: int. samples x samples points per cell are averaged.
        soft: bool. True returns the averages, as in torchvision. False rounds them to 0 or 1.

    Returns:
        (B, F, m, m) float32 of 0 and 1, or in [0, 1] if soft; 0 outside the ground-truth box.
    """
    gt_boxes, gt_masks = with_a_slot(gt_boxes), with_a_slot(gt_masks)
    batch, slots = tf.unstack(tf.shape(matched))
    instances, side = tf.unstack(tf.shape(gt_masks)[1:3])
    masks = tf.reshape(tf.cast(gt_masks, tf.float32) / 255.0, [-1, side, side])
    owners = tf.reshape(matched + instances * tf.range(batch)[:, None], [-1])
    boxes, windows = (tf.reshape(x, [-1, 4]) for x in (gt_boxes, rois))
    grid = size * samples
    targets = mask_sampling.sample(masks, boxes, owners, windows, grid, grid)[..., None]
    targets = tf.nn.avg_pool2d(targets, samples, samples, "VALID")
    targets = tf.reshape(targets, [batch, slots, size, size])
    return targets if soft else tf.cast(targets >= 0.5, tf.float32)
