"""The alternatives to RoIAlign.

The paper compares it with two of them (§3, Tables 2c and 2d). RoIPool rounds a box and its bins to
whole cells of the map. RoIWarp rounds only the box. RoICrop is Matterport's plain crop.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.layers.atlas import cells_per_pixel, pyramid_atlas
from keras_maskrcnn.layers.roi_align import check_sampling, roi_align
from keras_maskrcnn.layers.roi_layer import RoILayer
from keras_maskrcnn.ops.python import gradients_of_graph


def quantize(boxes: tf.Tensor, levels: tf.Tensor, strides: Sequence[float]) -> tf.Tensor:
    """Rounds boxes to whole cells of their maps, as RoIPool does (Fast R-CNN §2.1 and its code).

    Args:
        boxes: (..., 4) float32 [x1, y1, x2, y2] in image pixels.
        levels: int32 in [0, L), in the shape (...).
        strides: L numbers. Image pixels per cell of each map.

    Returns:
        (..., 4) float32 [x1, y1, x2, y2] in whole cells, x2 and y2 exclusive. Halves are rounded
            away from zero. A box includes the cell in which it ends, so a box inside the image may
            reach one cell beyond its map. An empty or reversed box gets one cell.
    """
    cells = boxes * tf.gather(cells_per_pixel(strides), levels)[..., None]
    whole = tf.floor(tf.abs(cells))  # floor(x + 0.5) would round 0.49999997 up
    whole += tf.cast(tf.abs(cells) - whole >= 0.5, tf.float32)
    first, last = tf.split(tf.sign(cells) * whole, 2, axis=-1)
    return tf.concat([first, tf.maximum(first, last) + 1.0], axis=-1)


def _bins(boxes, levels, sizes, strides, bins):
    """Finds the rectangle of cells of each bin, for N = B * R * m * m bins.

    Args:
        boxes, levels, strides: as in `roi_pool`.
        sizes: (L, 2) int32. Rows and columns of each map.
        bins: int m.

    Returns:
        first: (N, 2) int32. Row and column of the bin's first cell.
        size: (N, 2) int32. The bin's rows and columns; 0 or less if it is empty.
    """
    cells = tf.cast(tf.reshape(quantize(boxes, levels, strides), [-1, 1, 4]), tf.int32)
    start = tf.gather(cells, [1, 0], axis=2)
    extent = tf.gather(cells, [3, 2], axis=2) - start
    limits = tf.gather(sizes, tf.reshape(levels, [-1]))[:, None]
    i = tf.range(bins)[:, None]
    # Integers are exact. With float32, Caffe and torchvision give the last bin one cell too many
    # in boxes of 57, 114, 121, ... cells.
    first = tf.clip_by_value(start + i * extent // bins, 0, limits)
    last = tf.clip_by_value(start + ((i + 1) * extent + bins - 1) // bins, 0, limits)

    def per_bin(sides):  # (B * R, m, 2) -> (N, 2)
        rows, columns = tf.repeat(sides[..., 0], bins, axis=1), tf.tile(sides[..., 1], [1, bins])
        return tf.reshape(tf.stack([rows, columns], axis=-1), [-1, 2])

    return per_bin(first), per_bin(last - first)


def _maxima(maps, corner, size):
    """Finds the maxima of N rectangles of cells.

    Four windows of 2^i x 2^j cells, one in each corner, cover a rectangle. The maxima of windows
    are computed for the whole map. For each size, they are the maximum of two shifted copies of
    those of half the size. This takes one pass over the map per size in use, however many and large
    the rectangles are.

    Memory: a few maps and a few results. For 7 x 7 bins of 1024 boxes on two float32 maps of
    50 x 84 x 1024, a map takes 34 MB and a result 206 MB. In int64, for the gradient, both double.

    Args:
        maps: (B, H, W, K) float32 or int64.
        corner: (N,) int32 in [0, B * H * W). Upper left cell of each rectangle.
        size: (N, 2) int32. Rows and columns of each rectangle.

    Returns:
        (N, K) in the dtype of `maps`; 0 for a rectangle without cells.
    """
    depth, width = maps.shape[-1], tf.shape(maps)[2]
    powers = 2 ** tf.range(31)
    exponents = tf.searchsorted(powers, tf.reshape(size, [-1]), side="right") - 1  # -1 if empty
    exponents = tf.reshape(exponents, [-1, 2])
    highest = tf.reduce_max(exponents[:, 0])

    def of_size(i, j, windows, maxima):
        chosen = tf.where(tf.reduce_all(exponents == [i, j], axis=1))
        upper_left = tf.gather_nd(corner, chosen)
        down, right = tf.unstack(tf.gather_nd(size, chosen) - 2 ** tf.stack([i, j]), axis=1)
        lower_left, windows = upper_left + down * width, tf.reshape(windows, [-1, depth])
        largest = tf.gather(windows, upper_left)
        for other in (upper_left + right, lower_left, lower_left + right):
            largest = tf.maximum(largest, tf.gather(windows, other))
        return tf.tensor_scatter_nd_update(maxima, chosen, largest)

    def grow(windows, cells, axis):  # windows that wrap around lie in no rectangle: none is read
        return tf.maximum(windows, tf.roll(windows, -cells, axis))

    def add_rows(i, tall, maxima):
        def add_columns(j, wide, maxima):
            return j + 1, grow(wide, 2**j, 2), of_size(i, j, wide, maxima)

        widest = tf.reduce_max(tf.where(exponents[:, 0] == i, exponents[:, 1], -1))
        maxima = tf.while_loop(lambda j, *_: j <= widest, add_columns, [0, tall, maxima])[2]
        return i + 1, grow(tall, 2**i, 1), maxima

    maxima = tf.zeros([tf.shape(size)[0], depth], maps.dtype)
    return tf.while_loop(lambda i, *_: i <= highest, add_rows, [0, maps, maxima])[2]


def _ranked(maps):
    """Combines each value and its position into one integer, so that a maximum finds both.

    A greater value gives a greater integer; of equal values, the first entry gives the greatest.

    Args:
        maps: float32, fewer than 2^31 entries.

    Returns:
        int64 in the shape of `maps`. The upper half holds the value's bits, changed so that they
            sort like integers. The lower half counts the entries from this one to the last.
    """
    bits = tf.bitcast(maps, tf.int32)
    bits = tf.where(bits < 0, tf.bitwise.bitwise_xor(bits, 0x7FFFFFFF), bits)
    to_last = tf.reshape(tf.range(tf.size(maps), 0, -1), tf.shape(maps))
    return tf.bitcast(tf.stack([to_last, bits], axis=-1), tf.int64)  # little-endian


def roi_pool(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    levels: tf.Tensor,
    *,
    output_size: int,
    strides: Sequence[float],
    owners: tf.Tensor | None = None,
) -> tf.Tensor:
    """Takes the maximum of each bin of a box, with box and bins rounded to whole cells (RoIPool).

    See Fast R-CNN §2.1. The rounding is that of Caffe and torchvision. Only `features` get a
    gradient. A bin's gradient goes to its greatest cell; among equals, to the first in reading
    order.

    Args:
        features: list of L (B, Hl, Wl, K) float. Feature maps, finest first.
        boxes: (B, R, 4) float32 [x1, y1, x2, y2] in image pixels.
        levels: (B, R) int32 in [0, L). The map that each box is pooled from.
        output_size: int m. Bins per side.
        strides: L numbers. Image pixels per cell of each map.
        owners: as in `roi_align.roi_align`.

    Returns:
        (B, R, m, m, K) in the dtype of `features`, or (n, m, m, K) with `owners`; 0 in bins outside
            their map.
    """
    bins, leading = output_size, tf.unstack(tf.shape(boxes)[:-1])
    atlas = pyramid_atlas(features)
    dtype, depth, shape = atlas.cells.dtype, features[0].shape[-1], tf.shape(atlas.cells)
    first, size = _bins(boxes, levels, atlas.sizes, strides, bins)
    first += tf.repeat(tf.gather(atlas.origins, tf.reshape(levels, [-1])), bins**2, 0)
    if owners is None:
        owners = tf.repeat(tf.range(shape[0]), leading[1])
    image = tf.repeat(owners, bins**2)
    height, width = tf.unstack(tf.shape(atlas.index))
    corner = (image * height + first[:, 0]) * width + first[:, 1]

    @tf.custom_gradient
    def pool(cells):
        laid_out = atlas._replace(cells=cells).map()

        def gradient(upstream):
            greatest = tf.bitcast(_maxima(_ranked(laid_out), corner, size), tf.int32)[..., 0]
            entry = tf.maximum(tf.size(laid_out) - greatest, 0)  # index in the map
            place, channel = entry // depth % (height * width), entry % depth
            cell = tf.gather(tf.reshape(atlas.index, [-1]), place) + image[:, None] * shape[1]
            entry = tf.where(greatest > 0, cell * depth + channel, -1)  # -1 is skipped
            upstream = tf.reshape(upstream, [-1, depth])
            # No race on CPUs: each thread owns a part of the sums (tensorflow/tensorflow#54366).
            sums = tf.math.unsorted_segment_sum(upstream, entry, tf.size(cells))
            return tf.reshape(sums, shape)

        pooled = _maxima(laid_out, corner, size)
        return tf.reshape(pooled, [*leading, bins, bins, depth]), gradient

    pooled = gradients_of_graph(pool(tf.cast(atlas.cells, tf.float32)))
    return tf.cast(pooled, dtype)


def roi_warp(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    levels: tf.Tensor,
    *,
    output_size: int,
    strides: Sequence[float],
    sampling_ratio: int = 2,
    pooling: str = "average",
    owners: tf.Tensor | None = None,
) -> tf.Tensor:
    """Rounds boxes as `roi_pool` does, then samples them bilinearly as `roi_align` does (RoIWarp).

    This is the crop of Dai et al. (2016) as §3 describes it. Points more than one cell outside
    their map read 0. Arguments, result and errors are those of `roi_align`.
    """
    stride = tf.gather(tf.constant(strides, tf.float32), levels)[..., None]
    return roi_align(
        features,
        quantize(boxes, levels, strides) * stride,
        levels,
        output_size=output_size,
        strides=strides,
        sampling_ratio=sampling_ratio,
        pooling=pooling,
        bounded=len(features) > 1,
        owners=owners,
    )


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIPool(RoILayer):
    """Pools boxes with `roi_pool`, each from the level for its size. Arguments: see `RoILayer`."""

    def pool(
        self,
        features: Sequence[tf.Tensor],
        boxes: tf.Tensor,
        levels: tf.Tensor,
        owners: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return roi_pool(
            features,
            boxes,
            levels,
            output_size=self.output_size,
            strides=self.strides,
            owners=owners,
        )


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoICrop(RoILayer):
    """Pools boxes as Matterport does, with plain CropAndResize, each from the level for its size.

    It reads one point per bin, the outermost on the box's corners (`corners` in `roi_align`).
    Arguments are those of `RoILayer`; `output_size` must be at least 2.
    """

    def pool(
        self,
        features: Sequence[tf.Tensor],
        boxes: tf.Tensor,
        levels: tf.Tensor,
        owners: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return roi_align(
            features,
            boxes,
            levels,
            output_size=self.output_size,
            strides=self.strides,
            sampling_ratio=1,
            corners=True,
            owners=owners,
        )


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIWarp(RoILayer):
    """Pools boxes with `roi_warp`, each from the level for its size; see `RoILayer`.

    Args:
        output_size, strides, canonical_size, level_rule: as in `RoILayer`.
        sampling_ratio, pooling: as in `roi_align`.

    Raises:
        ValueError: as in `RoILayer` and `roi_align`.
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[float],
        sampling_ratio: int = 2,
        canonical_size: float = 224.0,
        level_rule: str = "detectron2",
        pooling: str = "average",
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size, strides, canonical_size, level_rule, **kwargs)
        check_sampling(sampling_ratio, pooling)
        self.sampling_ratio, self.pooling = sampling_ratio, pooling

    def pool(
        self,
        features: Sequence[tf.Tensor],
        boxes: tf.Tensor,
        levels: tf.Tensor,
        owners: tf.Tensor | None = None,
    ) -> tf.Tensor:
        return roi_warp(
            features,
            boxes,
            levels,
            output_size=self.output_size,
            strides=self.strides,
            sampling_ratio=self.sampling_ratio,
            pooling=self.pooling,
            owners=owners,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "sampling_ratio": self.sampling_ratio,
            "pooling": self.pooling,
        }
