"""Resizes images inside of an ONNX graph, as `ops/images.py` does in TensorFlow.

ONNX' own Resize is not used: ONNX Runtime and OpenVINO antialias differently, or not at all.
"""

import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.export.native_onnx.graph import DOUBLE, FLOAT, INT32, INT64, Value


def resized_size(size: Value, config: MaskRCNNConfig) -> Value:
    """Does what `ops.images.resized_size` does, in float64 as there.

    Args:
        size: (2,) int64. Height and width.
        config: MaskRCNNConfig.

    Returns:
        (2,) int64.
    """
    graph, sides = size.graph, size.cast(DOUBLE)
    height, width = sides.take([0]), sides.take([1])
    shorter, longer = graph.add("Min", height, width), graph.add("Max", height, width)
    scale = graph.add(
        "Min",
        graph.value(np.array([config.image_min_side], np.float64)) / shorter,
        graph.value(np.array([config.image_max_side], np.float64)) / longer,
    )
    half = np.array([0.0 if config.resize_rule == "torchvision" else 0.5], np.float64)
    return graph.add("Max", graph.add("Floor", sides * scale + half).cast(INT64), 1)


def resize(pixels: Value, before: Value, after: Value, rule: str, whole: bool = True) -> Value:
    """Does what `ops.images.resize` does.

    Args:
        pixels: (B, C, H, W), uint8 with `whole`, else float32.
        before: (2,) int64. H and W.
        after: (2,) int64. The new height and width.
        rule: "detectron2" or "torchvision".
        whole: bool. Whether detectron2's rule rounds to integers.

    Returns:
        (B, C, H', W') float32; integers by detectron2's rule with `whole`.
    """
    graph = pixels.graph
    if rule == "torchvision":
        pixels = pixels.cast(FLOAT)
        for axis in (3, 2):
            pixels = _interpolate(pixels, axis, before.take([axis - 2]), after.take([axis - 2]))
        return pixels
    resample = _resample if whole else _resample_floats
    pixels = pixels.cast(INT32) if whole else pixels
    for axis in (3, 2):  # Pillow resizes along rows first, rounds, and then resizes columns
        length, size = before.take([axis - 2]), after.take([axis - 2])
        pixels = graph.either(
            graph.add("Squeeze", size.equals(length), [0]),
            lambda pixels=pixels: pixels,
            lambda args=(pixels, axis, length, size): resample(*args),
        )
    return pixels.cast(FLOAT)


def _interpolate(pixels, axis, length, size):
    """Interpolates between the two nearest pixels, and repeats the outermost ones."""
    graph = pixels.graph
    # In float32, as TensorFlow computes the positions.
    scale = length.cast(FLOAT) / size.cast(FLOAT)
    position = (graph.range(size).cast(FLOAT) + 0.5) * scale - 0.5
    lower = graph.add("Floor", position)
    weight = position - lower
    weight = weight.unsqueeze(1) if axis == 2 else weight
    lower = lower.cast(INT64)
    first, second = (
        pixels.take(graph.add("Min", graph.add("Max", i, 0), length - 1), axis)
        for i in (lower, lower + 1)
    )
    return first + (second - first) * weight


def _resample(pixels, axis, length, size):
    """Resizes one axis as Pillow's bilinear filter does, with weights of 22 bits.

    All is exact in whole numbers: OpenVINO computes float64 in float32.
    """
    columns, weights, total = _triangles(pixels.graph, length, size)
    half = np.int32(2**21)
    taken = _weighted(pixels, axis, size, columns, _rounded_shares(weights, total), half)
    return taken // np.int32(2**22)


def _resample_floats(pixels, axis, length, size):
    """Resizes one axis of float32 as Pillow's bilinear filter does."""
    columns, weights, total = _triangles(pixels.graph, length, size)
    shares = weights.cast(FLOAT) / total.cast(FLOAT)
    return _weighted(pixels, axis, size, columns, shares, np.float32(0))


def _triangles(graph, length, size):
    """Returns what Pillow's bilinear filter reads, in whole numbers.

    Distances are counted in parts of 1 / (2 * size) of an old pixel.

    Returns:
        columns and weights, (taps, size) int64, and the sums of the weights, (1, size) int64.
    """
    reach = graph.add("Max", length, size) * 2  # the filter is a triangle, this wide to each side
    center = (graph.range(size) * 2 + 1) * length
    first = graph.add("Max", center - reach + size, 0) // (size * 2)
    # As many as the widest triangle covers: 2 * ceil(reach / (2 * size)) + 1.
    count = (reach + size * 2 - 1) // (size * 2) * 2 + 1
    columns = first + graph.range(count).unsqueeze(1)  # (count, size)
    weights = reach - graph.add("Abs", columns * (size * 2) + size - center)
    weights = graph.where(columns < length, graph.add("Max", weights, 0), 0)
    columns = graph.add("Min", columns, length - 1)
    return columns, weights, graph.add("ReduceSum", weights, [0])


def _weighted(pixels, axis, size, columns, weights, start):
    """Returns `start` plus the weighted sum of what `columns` reads along an axis."""
    graph = pixels.graph

    def add_tap(i, total):
        weight = weights.take(i)
        weight = weight.unsqueeze(1) if axis == 2 else weight
        return total + pixels.take(columns.take(i), axis) * weight

    sides = [pixels.side(i) for i in range(4)]
    sides[axis] = size
    first = graph.add("Expand", start, graph.shape_of(*sides))
    return graph.loop(columns.side(0), first, add_tap)


def _rounded_shares(weights, total):
    """Returns weights / total in 22 bits, rounded to nearest: int64 -> int32.

    In two steps of 11 bits, because 22 bits would not fit into 32 together with the weights.
    """
    graph = weights.graph
    bits, divisor = 2**11, total.cast(FLOAT)
    high = graph.add("Floor", weights.cast(FLOAT) / divisor * float(bits)).cast(INT64)
    rest = (weights * bits - high * total).cast(FLOAT)
    low = graph.add("Floor", rest / divisor * float(bits) + 0.5).cast(INT64)
    return (high * bits + low).cast(INT32)
