"""The second stage in an ONNX graph: box branch, choice of detections, and mask branch.

It follows `roi_heads.py` and `decode.detections`.
"""

from typing import NamedTuple

import numpy as np

from keras_maskrcnn.export.native_onnx import boxes as box_ops
from keras_maskrcnn.export.native_onnx.graph import Graph, Value
from keras_maskrcnn.export.native_onnx.images import Images
from keras_maskrcnn.export.native_onnx.networks import translate
from keras_maskrcnn.export.native_onnx.proposals import Proposals
from keras_maskrcnn.export.native_onnx.roi_pooling import Rois, pool
from keras_maskrcnn.levels import strides_of_rois
from keras_maskrcnn.roi_heads import RoIHeads


class Limits(NamedTuple):
    """What a caller may change: inputs of the graph with a default.

    Attributes:
        score_threshold: (1,) float32.
        nms_iou: (1,) float32.
        per_image: (1,) int64. Detections per image.
    """

    score_threshold: Value
    nms_iou: Value
    per_image: Value


class Detections(NamedTuple):
    """D slots per image, by falling score; empty slots are zero.

    Attributes:
        boxes: (B, D, 4) float32 in the frame of the network.
        scores: (B, D) float32.
        labels: (B, D) int64 in 1..C; 0 in empty slots.
        filled: (B, D) bool.
    """

    boxes: Value
    scores: Value
    labels: Value
    filled: Value


def detect(
    graph: Graph,
    heads: RoIHeads,
    features: dict[str, Value],
    proposals: Proposals,
    images: Images,
    limits: Limits,
) -> tuple[Detections, Value | None]:
    """Adds the second stage.

    Args:
        graph: Graph.
        heads: RoIHeads.
        features: dict of maps, (B, K, H, W).
        proposals: Proposals.
        images: Images.
        limits: Limits.

    Returns:
        Detections, and masks (B, D, m, m) float32, which are None without a mask head.
    """
    maps = [features[level] for level in strides_of_rois(heads.config.neck)]
    boxes, scores = _box_branch(graph, heads, maps, proposals, images)
    with graph.scope("boxes"):
        found = _select(graph, boxes, scores, limits, heads.config.nms_across_classes)
    if heads.mask_head is None:
        return found, None
    return found, _mask_branch(graph, heads, maps, found, images)


def _pool_filled(graph, heads, layer, maps, slots, images, scope, name):
    """Pools the filled slots, and applies res5 with C4.

    Returns the pooled features (n, K, m, m), their Rois, and their places in `slots`, (n, 2) int64.
    """
    with graph.scope(scope):
        places = graph.places(slots.filled)
        rois = Rois(graph.add("GatherND", slots.boxes, places), places.take(0, axis=1))
    with graph.scope(name):
        pooled, order = pool(graph, layer, maps, rois, images.canvas)
    if heads.res5 is not None:
        pooled = translate(graph, heads.res5, pooled, "res5", f"/{name}")
    with graph.scope(scope):
        return pooled, rois.take(order), places.take(order)


def _box_branch(graph, heads, maps, proposals, images):
    """Scores RoIs and refines their boxes; returns boxes (B, C, P, 4) and scores (B, C, P)."""
    config = heads.config
    pooled, rois, places = _pool_filled(
        graph, heads, heads.box_align, maps, proposals, images, "boxes", "box_align"
    )
    logits, deltas = translate(graph, heads.box_head, pooled, "box_head")
    with graph.scope("boxes"):
        scores = graph.add("Softmax", logits, axis=1)
        if config.one_class_per_roi:
            best = graph.add("ReduceMax", scores, [1])
            scores = graph.where(scores >= best, scores, 0.0)
        scores = scores.columns(1, config.num_classes + 1)
        if config.class_thresholds:
            thresholds = np.array(config.class_thresholds, np.float32)
            scores = graph.where(scores >= thresholds, scores, 0.0)
        boxes = box_ops.decode(deltas, rois.boxes.unsqueeze(1), config.box_delta_weights)
        borders = box_ops.borders_of(images.sizes, heads.frame.inclusive)
        boxes = box_ops.clip(boxes, borders.take(rois.image).unsqueeze(1))
        scores = graph.where(box_ops.is_longer(boxes, config.box_min_size), scores, 0.0)
        # RoIs go back to their slots, so that each image and class is a group of P boxes for NMS.
        slots, classes = proposals.boxes.side(1), config.num_classes
        batch = proposals.boxes.side(0)
        all_scores = graph.full(0.0, batch, slots, classes)
        all_boxes = graph.full(0.0, batch, slots, classes, 4)
        scores = graph.add("ScatterND", all_scores, places, scores).transpose(0, 2, 1)
        boxes = graph.add("ScatterND", all_boxes, places, boxes).transpose(0, 2, 1, 3)
    return boxes, scores


def _select(graph, boxes, scores, limits, across_classes):
    """Runs NMS within each class or across them, and takes the best of all classes."""
    batch, slots = scores.side(0), scores.side(2)
    if across_classes:  # the boxes of an image are one group
        boxes, groups = boxes.reshape(batch, -1, 4), scores.reshape(batch, -1)
    else:
        boxes, groups = boxes.reshape(-1, slots, 4), scores.reshape(-1, slots)
    kept = box_ops.suppress(
        graph, boxes, groups, limits.nms_iou, limits.score_threshold, limits.per_image
    )
    ranks = graph.where(kept, groups, 0.0).reshape(batch, -1)
    # With as many empty slots, there are always enough for TopK.
    ranks = graph.add("Concat", ranks, graph.full(0.0, batch, limits.per_image), axis=1)
    best, indices = graph.add("TopK", ranks, limits.per_image, outputs=2, axis=1)
    filled = best > 0.0
    indices = graph.where(filled, indices, 0)
    chosen = boxes.reshape(batch, -1, 4).take_per_image(indices)
    chosen = graph.where(filled.unsqueeze(2), chosen, 0.0)
    labels = graph.where(filled, indices // slots + 1, 0)
    return Detections(chosen, best, labels, filled)


def _mask_branch(graph, heads, maps, found, images):
    """Predicts the masks of the detections, each for its class; zeros in empty slots."""
    config = heads.config
    pooled, _, places = _pool_filled(
        graph, heads, heads.mask_align, maps, found, images, "masks", "mask_align"
    )
    logits = translate(graph, heads.mask_head, pooled, "mask_head")
    side, _, channels = heads.mask_head.output.shape[1:]
    with graph.scope("masks"):
        softmax = config.mask_loss == "softmax"
        masks = graph.add("Softmax", logits, axis=1) if softmax else logits
        if channels > 1:  # with softmax, channel 0 is background
            labels = graph.add("GatherND", found.labels, places)
            channel = labels if softmax else labels - 1
            masks = graph.add("GatherND", masks, channel.unsqueeze(1), batch_dims=1)
        else:
            masks = masks.reshape(0, side, side)
        masks = masks if softmax else graph.add("Sigmoid", masks)
        batch, slots = found.labels.side(0), found.labels.side(1)
        return graph.add("ScatterND", graph.full(0.0, batch, slots, side, side), places, masks)
