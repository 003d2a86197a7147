"""Arithmetic on boxes in an ONNX graph, as `ops/boxes.py` has it in TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.export.native_onnx.graph import FLOAT, Graph, Value
from keras_maskrcnn.ops.boxes import MAX_LOG_SCALE


def decode(deltas: Value, anchors: Value, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Value:
    """Computes boxes from anchors and deltas.

    Args:
        deltas: (..., 4) float32.
        anchors: (..., 4) float32. The leading axes broadcast with those of `deltas`.
        weights: 4 numbers, as in `ops.boxes.encode`.

    Returns:
        (..., 4) float32, not clipped.
    """
    graph = deltas.graph
    if tuple(weights) != (1.0, 1.0, 1.0, 1.0):
        deltas = deltas / np.array(weights, np.float32)
    corner, opposite = anchors.columns(0, 2), anchors.columns(2, 4)
    sides = opposite - corner
    centers = corner + sides * 0.5 + deltas.columns(0, 2) * sides
    growth = graph.add("Exp", graph.add("Min", deltas.columns(2, 4), MAX_LOG_SCALE))
    half = growth * sides * 0.5
    return graph.add("Concat", centers - half, centers + half, axis=-1)


def clip(boxes: Value, borders: Value) -> Value:
    """Moves corners outside of an image onto its border.

    Args:
        boxes: (..., 4) float32.
        borders: float32 [x, y, x, y], in a shape that broadcasts with `boxes`.

    Returns:
        (..., 4) float32.
    """
    graph = boxes.graph
    return graph.add("Min", graph.add("Max", boxes, 0.0), borders)


def borders_of(sizes: Value, inclusive: bool) -> Value:
    """Returns the largest x and y of boxes: (B, 2) int64 [height, width] -> (B, 4) float32."""
    limits = sizes - 1 if inclusive else sizes
    return limits.cast(FLOAT).take([1, 0, 1, 0], axis=1)


def is_longer(boxes: Value, side: float) -> Value:
    """Returns whether both sides of (..., 4) boxes are longer than `side`: (...) bool."""
    width = boxes.take(2, axis=-1) - boxes.take(0, axis=-1)
    height = boxes.take(3, axis=-1) - boxes.take(1, axis=-1)
    return boxes.graph.add("Min", width, height) > float(side)


def suppress(graph: Graph, boxes: Value, scores: Value, iou: Any, lowest: Any, count: Any) -> Value:
    """Runs NMS in each of G groups.

    Args:
        graph: Graph.
        boxes: (G, N, 4) float32.
        scores: (G, N) float32.
        iou: (1,) float32. If two boxes have an IoU above this, the one with the lower score is
            dropped.
        lowest: (1,) float32. Boxes with scores up to this are dropped.
        count: (1,) int64. Limit of the boxes per group.

    Returns:
        (G, N) bool. The boxes that are kept.
    """
    kept = graph.add("NonMaxSuppression", boxes, scores.unsqueeze(1), count, iou, lowest)
    places = kept.take([0, 2], axis=1)
    ones = graph.full(1.0, places.side(0))
    none = graph.full(0.0, scores.side(0), scores.side(1))
    return graph.add("ScatterND", none, places, ones) > 0.5
