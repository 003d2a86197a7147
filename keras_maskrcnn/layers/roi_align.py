"""RoIAlign (§3) on one feature map or on a pyramid, with one CropAndResize operation."""

import math

import keras
import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops


def roi_levels(boxes, num_levels, canonical_size=224.0):
    """The pyramid level that each RoI is pooled from (FPN Eq. 1, k0 = 4).

    Args:
        boxes: (..., 4) float32 in image pixels.
        num_levels: int. Levels from P2 upwards.
        canonical_size: float. A RoI of this side belongs to P4.

    Returns:
        (...) int32 in [0, num_levels): 0 is P2.
    """
    side = tf.sqrt(box_ops.area(boxes))
    # 1e-8, as detectron2: an empty box has a level too.
    level = tf.floor(2.0 + tf.math.log(side / canonical_size + 1e-8) / math.log(2.0))
    return tf.cast(tf.clip_by_value(level, 0.0, num_levels - 1.0), tf.int32)


def _atlas(features):
    """Lays the levels of a pyramid out in one map, like the mipmaps of a texture.

    Each level gets a border of one cell that repeats its edge: RoIAlign reads points up to one
    cell outside as the edge, and CropAndResize would read zeros or the neighbouring level.

    Returns:
        atlas: (B, Ha, Wa, K). The first level on the left, the others below one another beside.
        origins: (L, 2) float32. Row and column of each level's cell (0, 0).
    """
    padded = [tf.pad(f, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC") for f in features]
    first, others = padded[0], padded[1:]
    origins = [(1, 1)]
    if not others:
        return first, tf.cast(tf.stack(origins), tf.float32)
    left, top, column = tf.shape(first)[2], 0, []
    width = tf.shape(others[0])[2]
    for level in others:
        origins.append((top + 1, left + 1))
        top += tf.shape(level)[1]
        column.append(tf.pad(level, [[0, 0], [0, 0], [0, width - tf.shape(level)[2]], [0, 0]]))
    height = tf.maximum(tf.shape(first)[1], top)
    beside = tf.concat(column, axis=1)
    sides = [
        tf.pad(part, [[0, 0], [0, height - tf.shape(part)[1]], [0, 0], [0, 0]])
        for part in (first, beside)
    ]
    return tf.concat(sides, axis=2), tf.cast(tf.stack([tf.stack(o) for o in origins]), tf.float32)


def _reads(start, step, size, bins, ratio):
    """What the samples of each bin read along one axis.

    Args:
        start, step: (N,) float32. The first sample and the distance between two, in cells.
        size: () int32. Cells of the axis. A sample outside reads nothing.
        bins, ratio: int. Bins, and samples per bin.

    Returns:
        cells: (N, bins, 2 * ratio) int32, in [0, size).
        weights: (N, bins, 2 * ratio) float32. They add up to `ratio` per bin.
    """
    position = start[:, None] + step[:, None] * tf.range(bins * ratio, dtype=tf.float32)
    position = tf.reshape(position, [-1, bins, ratio])
    low = tf.floor(position)
    inside = tf.cast((position >= 0) & (position <= tf.cast(size - 1, tf.float32)), tf.float32)
    weights = tf.concat([1 - (position - low), position - low], axis=2) * tf.tile(inside, [1, 1, 2])
    cells = tf.cast(tf.concat([low, low + 1], axis=2), tf.int32)
    return tf.clip_by_value(cells, 0, size - 1), weights


def _average_samples(atlas, image, start, step, bins, ratio):
    """The mean of ratio x ratio bilinear samples in each of bins x bins bins.

    Only `atlas` gets a gradient, and not by CropAndResizeGradImage: on CPUs its threads add to
    the same cells without a lock and lose gradients (tensorflow/tensorflow#42033). Pooling is
    linear in the map, so the gradient is a product with the transpose of a sparse matrix.

    Args:
        atlas: (B, H, W, K) float32.
        image: (N,) int32. Where in the batch each box is.
        start, step: (N, 2) float32. First sample and distance, [y, x] in cells.
        bins, ratio: int.

    Returns:
        (N, bins, bins, K) float32.
    """
    shape = tf.shape(atlas)
    grid = bins * ratio

    @tf.custom_gradient
    def pool(atlas):
        extent = tf.cast(shape[1:3] - 1, tf.float32)
        corners = tf.concat([start / extent, (start + step * (grid - 1)) / extent], axis=1)
        samples = tf.image.crop_and_resize(atlas, corners, image, [grid, grid])

        def gradient(upstream):
            rows, row_weights = _reads(start[:, 0], step[:, 0], shape[1], bins, ratio)
            columns, column_weights = _reads(start[:, 1], step[:, 1], shape[2], bins, ratio)
            rows += shape[1] * image[:, None, None]
            # Axes: box, bin row, bin column, cell row, cell column.
            cells = rows[:, :, None, :, None] * shape[2] + columns[:, None, :, None, :]
            weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
            bin_of_cell = tf.range(tf.size(cells), dtype=tf.int32) // (2 * ratio) ** 2
            transposed = tf.SparseTensor(
                tf.cast(tf.stack([tf.reshape(cells, [-1]), bin_of_cell], axis=1), tf.int64),
                tf.reshape(weights, [-1]) / ratio**2,
                tf.cast([shape[0] * shape[1] * shape[2], tf.shape(image)[0] * bins**2], tf.int64),
            )
            # The product runs on one thread; parts of the channels run side by side.
            parts = tf.split(tf.reshape(upstream, [-1, atlas.shape[-1]]), _split(atlas), axis=1)
            parts = [tf.sparse.sparse_dense_matmul(transposed, part) for part in parts]
            return tf.reshape(tf.concat(parts, axis=1), shape)

        return tf.nn.avg_pool2d(samples, ratio, ratio, "VALID"), gradient

    return pool(atlas)


def _split(atlas, most=4):
    return max(n for n in range(1, most + 1) if atlas.shape[-1] % n == 0)


def roi_align(features, boxes, levels, *, output_size, strides, sampling_ratio=2):
    """Pools each box to a fixed grid without rounding its corners (RoIAlign, §3).

    Args:
        features: list of L (B, Hl, Wl, K) float. Feature maps, finest first.
        boxes: (B, R, 4) float32 [x1, y1, x2, y2] in image pixels. With more than one map, boxes
            must lie in the image; with one, points more than one cell outside the map read 0.
        levels: (B, R) int32 in [0, L). The map that each box is pooled from.
        output_size: int m. Bins per side: 7 for boxes, 14 for masks (Figure 4).
        strides: L numbers. Image pixels per cell of each map.
        sampling_ratio: int n. n x n points are averaged per bin; the paper uses 2.

    Returns:
        (B, R, m, m, K) in the dtype of `features`.
    """
    batch, num_boxes = tf.shape(boxes)[0], boxes.shape[1]
    atlas, origins = _atlas(features)
    boxes, levels = tf.reshape(boxes, [-1, 4]), tf.reshape(levels, [-1])
    stride = tf.gather(tf.constant(strides, tf.float32), levels)[:, None]
    cells = tf.gather(boxes, [1, 0, 3, 2], axis=1) / stride
    step = (cells[:, 2:] - cells[:, :2]) / (output_size * sampling_ratio)
    # Value i of a map sits at i + 0.5.
    start = cells[:, :2] + step / 2 - 0.5 + tf.gather(origins, levels)
    image = tf.repeat(tf.range(batch), num_boxes)
    # CropAndResize has no bfloat16 kernel.
    pooled = _average_samples(
        tf.cast(atlas, tf.float32), image, start, step, output_size, sampling_ratio
    )
    pooled = tf.reshape(pooled, [-1, num_boxes, output_size, output_size, atlas.shape[-1]])
    return tf.cast(pooled, atlas.dtype)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(keras.layers.Layer):
    """`roi_align` with the level of each box by its size (FPN Eq. 1).

    Args:
        output_size: int m. Bins per side.
        strides: L numbers, image pixels per cell of each map, finest first.
        sampling_ratio: int n. n x n points are averaged per bin.
        canonical_size: float. Side in pixels of a box that is pooled from the third map, P4.

    Call: list of L (B, Hl, Wl, K), boxes (B, R, 4) -> (B, R, m, m, K).

    Raises:
        ValueError: if `output_size` or `sampling_ratio` is below 1.
    """

    def __init__(self, output_size, strides, sampling_ratio=2, canonical_size=224.0, **kwargs):
        # Autocasting would round the boxes to bfloat16, by up to 4 pixels at 1000.
        super().__init__(**{"autocast": False, **kwargs})
        for name, value in (("output_size", output_size), ("sampling_ratio", sampling_ratio)):
            if value < 1:
                raise ValueError(f"{name} must be positive. Received: {name}={value}.")
        self.output_size, self.strides = output_size, tuple(strides)
        self.sampling_ratio, self.canonical_size = sampling_ratio, canonical_size
        self.supports_jit = False  # CropAndResize has no XLA kernel, and fit() would compile us
        self.built = True  # no weights

    def call(self, features, boxes):
        levels = roi_levels(boxes, len(self.strides), self.canonical_size)
        return roi_align(
            [tf.cast(f, self.compute_dtype) for f in features], boxes, levels,
            output_size=self.output_size, strides=self.strides,
            sampling_ratio=self.sampling_ratio,
        )  # fmt: skip

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], self.output_size, self.output_size, features_shape[0][-1])

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "sampling_ratio": self.sampling_ratio,
            "canonical_size": self.canonical_size,
        }
