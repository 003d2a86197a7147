"""RoIAlign (§3) on one feature map or on a pyramid, with one CropAndResize operation."""

import math

import keras
import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops


def roi_levels(boxes, num_levels, canonical_size=224.0, rule="detectron2"):
    """The pyramid level that each RoI is pooled from (FPN Eq. 1, k0 = 4).

    Args:
        boxes: (..., 4) float32 in image pixels.
        num_levels: int. Levels from P2 upwards.
        canonical_size: float. A RoI of this side belongs to P4.
        rule: "detectron2" or "torchvision": where a millionth is added against rounding.

    Returns:
        (...) int32 in [0, num_levels): 0 is P2.
    """
    side = tf.sqrt(box_ops.area(boxes))
    inside, outside = (0.0, 1e-6) if rule == "torchvision" else (1e-8, 0.0)
    octave = tf.math.log(side / canonical_size + inside) / math.log(2.0)
    level = tf.floor(4.0 + octave + outside) - 2.0  # an empty box's is -inf, and so the finest
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


def _reads(position, sampled, lowest, highest):
    """Which cells the samples of a bin read along one axis, and with what share.

    Args:
        position: (N, m, n) float32. Samples of each bin, in cells.
        sampled: (N, 1, n) float32. 0 where a bin has fewer than n samples.
        lowest, highest: (N, 1, 1) float32. Samples beyond these cells count, and read nothing.

    Returns:
        cells: (N, m, w) int32. The w cells of each bin's window.
        weights: (N, m, w) float32. They add up to 1, or to less if a sample reads nothing.
    """
    inside = tf.cast((position >= lowest) & (position <= highest), tf.float32) * sampled
    position = tf.where(inside > 0, position, lowest)
    first = tf.reduce_min(tf.where(inside > 0, tf.floor(position), highest), axis=2, keepdims=True)
    width = tf.reduce_max(tf.where(inside > 0, tf.floor(position) - first, 0.0)) + 2.0
    cells = tf.minimum(first + tf.range(width), highest)
    # Bilinear interpolation is a tent of a cell's width on both sides. The last cell of a window
    # may be its neighbour again, where the map ends; it gets no weight then.
    repeated = first + tf.range(width) > highest
    tents = tf.maximum(0.0, 1.0 - tf.abs(position[..., None] - cells[:, :, None]))
    weights = tf.reduce_sum(tents * inside[..., None], axis=2)
    weights = tf.where(repeated, 0.0, weights)
    count = tf.reduce_sum(sampled, axis=2, keepdims=True)
    return tf.cast(cells, tf.int32), tf.math.divide_no_nan(weights, count)


def _pooling_matrix(shape, image, y_reads, x_reads):
    """The matrix of a pooling that is linear in the map, as RoIAlign is.

    Args:
        shape: (4,) int32. Of the map, (B, H, W, K).
        image: (N,) int32. Where in the batch each box is.
        y_reads, x_reads: pairs of (N, m, w), from `_reads`.

    Returns:
        indices: (Z, 2) int64. Bin of N * m * m, cell of B * H * W.
        values: (Z,) float32, not 0.
    """
    rows, row_weights = y_reads
    columns, column_weights = x_reads
    rows = rows + shape[1] * image[:, None, None]
    # Axes: box, bin row, bin column, cell row, cell column.
    cells = rows[:, :, None, :, None] * shape[2] + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    weights = tf.reshape(weights, [-1])
    read = tf.where(weights > 0)[:, 0]
    per_bin = tf.cast(tf.shape(rows)[2] * tf.shape(columns)[2], tf.int64)
    cells = tf.cast(tf.gather(tf.reshape(cells, [-1]), read), tf.int64)
    return tf.stack([read // per_bin, cells], axis=1), tf.gather(weights, read)


def _multiply(indices, values, rows, dense):
    """A sparse matrix of `rows` rows times (columns, K) -> (rows, K)."""
    columns = tf.shape(dense, tf.int64)[0]
    matrix = tf.SparseTensor(indices, values, [tf.cast(rows, tf.int64), columns])
    # The product runs on one thread; parts of the channels run side by side.
    parts = max(n for n in (1, 2, 3, 4) if dense.shape[1] % n == 0)
    parts = tf.split(dense, parts, axis=1)
    return tf.concat([tf.sparse.sparse_dense_matmul(matrix, part) for part in parts], axis=1)


def roi_align(
    features, boxes, levels, *, output_size, strides, sampling_ratio=2, aligned=True
):  # fmt: skip
    """Pools each box to a fixed grid without rounding its corners (RoIAlign, §3).

    Only `features` get a gradient, and not by CropAndResizeGradImage: on CPUs its threads add to
    the same cells without a lock and lose gradients (tensorflow/tensorflow#42033).

    Args:
        features: list of L (B, Hl, Wl, K) float. Feature maps, finest first.
        boxes: (B, R, 4) float32 [x1, y1, x2, y2] in image pixels. Points more than one cell
            outside their map read 0; with more than one map, aligned and a fixed ratio, boxes must
            lie in the image.
        levels: (B, R) int32 in [0, L). The map that each box is pooled from.
        output_size: int m. Bins per side: 7 for boxes, 14 for masks (Figure 4).
        strides: L numbers. Image pixels per cell of each map.
        sampling_ratio: int n. n x n points are averaged per bin; the paper uses 2. 0 takes as many
            as a bin has cells a side, rounded up (detectron2).
        aligned: bool. Whether value i of a map sits at i + 0.5; else it sits at i, and boxes are at
            least a cell wide (torchvision's models).

    Returns:
        (B, R, m, m, K) in the dtype of `features`.
    """
    batch, num_boxes, bins = tf.shape(boxes)[0], boxes.shape[1], output_size
    atlas, origins = _atlas(features)
    dtype, depth, shape = atlas.dtype, atlas.shape[-1], tf.shape(atlas)
    boxes, levels = tf.reshape(boxes, [-1, 4]), tf.reshape(levels, [-1])
    image = tf.repeat(tf.range(batch), num_boxes)
    cells = tf.gather(boxes, [1, 0, 3, 2], axis=1)  # TF wants [y1, x1, y2, x2]
    cells /= tf.gather(tf.constant(strides, tf.float32), levels)[:, None]
    bin_size = (cells[:, 2:] - cells[:, :2]) / bins
    if not aligned:
        bin_size = tf.maximum(bin_size, 1 / bins)
    origin = tf.gather(origins, levels)
    corner = cells[:, :2] - (0.5 if aligned else 0.0) + origin
    ends = tf.gather(tf.stack([tf.shape(f)[1:3] for f in features]), levels)
    lowest, highest = origin - 1, origin + tf.cast(ends, tf.float32)
    if sampling_ratio:
        ratio, counts = sampling_ratio, tf.fill(tf.shape(bin_size), float(sampling_ratio))
    else:
        counts = tf.maximum(tf.math.ceil(bin_size), 0.0)
        ratio = tf.cast(tf.reduce_max(counts), tf.int32)

    def axis_reads(axis):
        def column(x):
            return x[:, axis, None, None]

        i = tf.range(ratio, dtype=tf.float32)
        within = tf.math.divide_no_nan(i + 0.5, column(counts))
        at = tf.range(bins, dtype=tf.float32)[:, None] + within
        sampled = tf.cast(i < column(counts), tf.float32)
        position = column(corner) + at * column(bin_size)
        return _reads(position, sampled, column(lowest), column(highest))

    def matrix():
        return _pooling_matrix(shape, image, axis_reads(0), axis_reads(1))

    def crop(atlas):
        step = bin_size / ratio
        start, extent = corner + step / 2, tf.cast(shape[1:3] - 1, tf.float32)
        last = start + step * (bins * ratio - 1)
        corners = tf.concat([start / extent, last / extent], axis=1)
        samples = tf.image.crop_and_resize(atlas, corners, image, [bins * ratio] * 2)
        if not aligned:  # a box of one cell at the right end reaches out of its map
            at = start[:, :, None] + step[:, :, None] * tf.range(bins * ratio, dtype=tf.float32)
            inside = tf.cast((at >= lowest[..., None]) & (at <= highest[..., None]), tf.float32)
            samples *= (inside[:, 0, :, None] * inside[:, 1, None, :])[..., None]
        return tf.nn.avg_pool2d(samples, ratio, ratio, "VALID")

    @tf.custom_gradient
    def pool(atlas):
        rows = tf.size(image) * bins**2
        if sampling_ratio:  # several times faster, but only for the same number of samples in each
            pooled = crop(atlas)
        else:
            pooled = _multiply(*matrix(), rows, tf.reshape(atlas, [-1, depth]))

        def gradient(upstream):
            indices, values = matrix()
            upstream = tf.reshape(upstream, [-1, depth])
            transposed = tf.reverse(indices, [1])
            return tf.reshape(_multiply(transposed, values, shape[0] * shape[1] * shape[2],
                                        upstream), shape)  # fmt: skip

        return tf.reshape(pooled, [-1, num_boxes, bins, bins, depth]), gradient

    # CropAndResize has no bfloat16 kernel.
    return tf.cast(pool(tf.cast(atlas, tf.float32)), dtype)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(keras.layers.Layer):
    """`roi_align` with the level of each box by its size (FPN Eq. 1).

    Args:
        output_size: int m. Bins per side.
        strides: L numbers, image pixels per cell of each map, finest first.
        sampling_ratio, aligned: as in `roi_align`.
        canonical_size, level_rule: as in `roi_levels`.

    Call: list of L (B, Hl, Wl, K), boxes (B, R, 4) -> (B, R, m, m, K).

    Raises:
        ValueError: if `output_size` is below 1 or `sampling_ratio` below 0.
    """

    def __init__(
        self,
        output_size,
        strides,
        sampling_ratio=2,
        canonical_size=224.0,
        aligned=True,
        level_rule="detectron2",
        **kwargs,
    ):
        # Autocasting would round the boxes to bfloat16, by up to 4 pixels at 1000.
        super().__init__(**{"autocast": False, **kwargs})
        if output_size < 1:
            raise ValueError(f"output_size must be positive. Received: output_size={output_size}.")
        if sampling_ratio < 0:
            raise ValueError(
                f"sampling_ratio must be at least 0. Received: sampling_ratio={sampling_ratio}."
            )
        self.output_size, self.strides = output_size, tuple(strides)
        self.sampling_ratio, self.canonical_size = sampling_ratio, canonical_size
        self.aligned, self.level_rule = aligned, level_rule
        self.supports_jit = False  # CropAndResize has no XLA kernel, and fit() would compile us
        self.built = True  # no weights

    def call(self, features, boxes):
        levels = roi_levels(boxes, len(self.strides), self.canonical_size, self.level_rule)
        return roi_align(
            [tf.cast(f, self.compute_dtype) for f in features], boxes, levels,
            output_size=self.output_size, strides=self.strides,
            sampling_ratio=self.sampling_ratio, aligned=self.aligned,
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
            "aligned": self.aligned,
            "level_rule": self.level_rule,
        }
