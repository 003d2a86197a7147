"""Pools RoIs in an ONNX graph with RoiAlign (`layers/roi_align.py`, `layers/roi_layer.py`)."""

import math
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.export.native_onnx.graph import FLOAT, Graph, Value
from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_layer import RoILayer
from keras_maskrcnn.layers.roi_pool import RoICrop, RoIWarp

LAYERS = (RoIAlign, RoIWarp, RoICrop)


class Rois(NamedTuple):
    """n RoIs of all images.

    Attributes:
        boxes: (n, 4) float32 in the frame of the network.
        image: (n,) int64. Index of each RoI's image in the batch.
    """

    boxes: Value
    image: Value

    def take(self, indices: Value) -> "Rois":
        """Chooses or reorders RoIs."""
        return Rois(self.boxes.take(indices), self.image.take(indices))


def pool(
    graph: Graph, layer: RoILayer, features: list[Value], rois: Rois, canvas: Value
) -> tuple[Value, Value]:
    """Pools each RoI from the level for its size.

    Args:
        graph: Graph.
        layer: RoIAlign, RoIWarp or RoICrop.
        features: list of L (B, K, Hl, Wl) float32, finest first.
        rois: Rois.
        canvas: (2,) int64. Height and width of the padded images.

    Returns:
        pooled: (n, K, m, m) float32, in an order that is fast to compute.
        order: (n,) int64. The index of each pooled RoI in `rois`.
    """
    along = _along_the_map(graph, rois, canvas, band=16 * layer.strides[0])
    rois = rois.take(along)
    if len(features) == 1:
        return _pool_level(graph, layer, features[0], layer.strides[0], rois), along
    levels = _levels(layer, rois.boxes, len(features), canvas)
    pooled, order = [], []
    for i, (feature, stride) in enumerate(zip(features, layer.strides, strict=True)):
        with graph.scope(f"level{i}"):
            indices = graph.places(levels.equals(float(i))).reshape(-1)
            pooled.append(_pool_level(graph, layer, feature, stride, rois.take(indices)))
            order.append(indices)
    pooled = graph.add("Concat", *pooled, axis=0)
    return pooled, along.take(graph.add("Concat", *order, axis=0))


def _along_the_map(graph, rois, canvas, band):
    """Orders RoIs by image, then by bands of rows, then from left to right: (n,) int64.

    Neighbors read the same cells, which are then still in the cache: RoIAlign takes half the time.
    """
    centers = (rois.boxes.columns(0, 2) + rois.boxes.columns(2, 4)) * 0.5
    row = graph.add("Floor", centers.take(1, axis=1) / float(band))
    column = centers.take(0, axis=1) / canvas.take([1]).cast(FLOAT)
    key = rois.image.cast(FLOAT) * 4096.0 + row + column
    return graph.add("TopK", key, key.side(0), outputs=2, largest=0)[1]


def _levels(layer, boxes, count, canvas):
    """Does what `roi_layer.roi_levels` does: (n, 4) -> (n,) float32 in 0..count - 1."""
    graph, size = boxes.graph, float(layer.canonical_size)
    if layer.level_rule == "matterport":  # it divides boxes by the canvas's sides minus 1
        sides = canvas.cast(FLOAT)
        shares = (sides - 1.0) / sides
        size = graph.add("Sqrt", shares.take([0]) * shares.take([1])) * size
    width, height = (
        graph.add("Max", boxes.take(i + 2, axis=1) - boxes.take(i, axis=1), 0.0) for i in (0, 1)
    )
    inside, outside = (0.0, 1e-6) if layer.level_rule == "torchvision" else (1e-8, 0.0)
    octave = graph.add("Log", graph.add("Sqrt", width * height) / size + inside) / math.log(2.0)
    level = octave + 4.0 + outside
    level = graph.add("Round" if layer.level_rule == "matterport" else "Floor", level) - 2.0
    return graph.add("Min", graph.add("Max", level, 0.0), count - 1.0)


def _pool_level(graph, layer, feature, stride, rois):
    """Pools RoIs from one map."""
    bins, ratio = layer.output_size, 1
    boxes, scale = rois.boxes, 1 / stride
    aligned = True
    if isinstance(layer, RoICrop):
        boxes, scale = _crop_boxes(graph, feature, boxes, stride, bins), 1.0
    else:
        ratio = layer.sampling_ratio
        if isinstance(layer, RoIWarp):
            boxes, scale = _quantize(graph, boxes, stride), 1.0
        else:
            aligned = layer.aligned
    # RoiAlign's own mode "max" takes the maximum before the interpolation is complete.
    largest = getattr(layer, "pooling", "average") == "max"
    size = bins * ratio if largest else bins
    pooled = graph.add(
        "RoiAlign",
        feature,
        boxes,
        rois.image,
        output_height=size,
        output_width=size,
        sampling_ratio=1 if largest else ratio,
        spatial_scale=scale,
        mode="avg",
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )
    if largest:
        # Not by MaxPool: in OpenVINO it fails without RoIs.
        pooled = pooled.reshape(0, 0, bins, ratio, bins * ratio)
        pooled = graph.add("ReduceMax", pooled, [3], keepdims=0).reshape(0, 0, bins, bins, ratio)
        pooled = graph.add("ReduceMax", pooled, [4], keepdims=0)
    return pooled


def _quantize(graph, boxes, stride):
    """Does what `roi_pool.quantize` does for one map: boxes in whole cells."""
    cells = boxes * np.float32(1 / stride)
    size = graph.add("Abs", cells)
    whole = graph.add("Floor", size)
    whole = whole + (size - whole >= 0.5).cast(FLOAT)
    cells = graph.add("Sign", cells) * whole
    first, last = cells.columns(0, 2), cells.columns(2, 4)
    return graph.add("Concat", first, graph.add("Max", first, last) + 1.0, axis=1)


def _crop_boxes(graph, feature, boxes, stride, bins):
    """Makes boxes, in cells, whose bins' centers are the points that CropAndResize reads."""
    sides = graph.add("Concat", feature.side(3), feature.side(2), axis=0).cast(FLOAT)
    scale = (sides - 1.0) / (sides - 1 / stride) * (1 / stride)
    first, last = boxes.columns(0, 2) * scale, boxes.columns(2, 4) * scale
    half = (last - first) / (2.0 * (bins - 1))
    # RoiAlign subtracts the 0.5.
    return graph.add("Concat", first - half + 0.5, last + half + 0.5, axis=1)
