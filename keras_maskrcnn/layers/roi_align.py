"""RoIAlign (§3) on one feature map or on a pyramid, with one CropAndResize operation."""

import math
from typing import NamedTuple

import keras
import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.portable import is_portable
from keras_maskrcnn.ops.python import gradients_of_graph


def roi_levels(boxes, num_levels, canonical_size=224.0, rule="detectron2"):
    """The pyramid level that each RoI is pooled from (FPN Eq. 1, k0 = 4).

    Args:
        boxes: (..., 4) float32 in image pixels.
        num_levels: int. Levels from P2 upwards.
        canonical_size: float. A RoI of this side belongs to P4.
        rule: "detectron2" or "torchvision": where a millionth is added against rounding. With
            "matterport" the level is the nearest one, not that below.

    Returns:
        (...) int32 in [0, num_levels): 0 is P2.
    """
    side = tf.sqrt(box_ops.area(boxes))
    inside, outside = (0.0, 1e-6) if rule == "torchvision" else (1e-8, 0.0)
    octave = tf.math.log(side / canonical_size + inside) / math.log(2.0)
    level = 4.0 + octave + outside  # an empty box's is -inf, and so the finest
    level = (tf.round(level) if rule == "matterport" else tf.floor(level)) - 2.0
    return tf.cast(tf.clip_by_value(level, 0.0, num_levels - 1.0), tf.int32)


def cells_per_pixel(strides):
    """Returns (L,) float32: 1 / strides, to multiply boxes by.

    TensorFlow turns a division by a constant 4 into a product with 0.24999999 in some graphs.
    """
    return tf.constant([1 / stride for stride in strides], tf.float32)


class Atlas(NamedTuple):
    """The levels of a pyramid laid out in one map, like the mipmaps of a texture.

    Each level has a border of one cell that repeats its edge: RoIAlign reads points up to one cell
    outside as the edge, and CropAndResize would read zeros or the neighbouring level.
    """

    cells: tf.Tensor  # (B, N, K). All cells of all levels, finest level first
    index: tf.Tensor  # (Ha, Wa) int32. Which of the N cells lies where; anything in between
    origins: tf.Tensor  # (L, 2) int32. Row and column of each level's cell (0, 0)

    def map(self):
        """Returns the map, (B, Ha, Wa, K)."""
        return tf.gather(self.cells, self.index, axis=1)


def pyramid_atlas(features):
    """Lays out levels: the first on the left, the others below one another beside it.

    Args:
        features: list of L (B, Hl, Wl, K), finest first.

    Returns:
        `Atlas`.
    """
    start, blocks = 0, []
    for level in features:
        height, width = tf.unstack(tf.shape(level)[1:3])
        rows = tf.clip_by_value(tf.range(-1, height + 1), 0, height - 1)
        columns = tf.clip_by_value(tf.range(-1, width + 1), 0, width - 1)
        blocks.append(start + rows[:, None] * width + columns)
        start += height * width
    depth = features[0].shape[-1]
    flat = [tf.reshape(level, [tf.shape(level)[0], -1, depth]) for level in features]
    cells, (first, *others) = tf.concat(flat, axis=1), blocks
    if not others:
        return Atlas(cells, first, tf.constant([[1, 1]]))
    width, top, column, origins = tf.shape(others[0])[1], 0, [], [(1, 1)]
    for block in others:
        origins.append((top + 1, tf.shape(first)[1] + 1))
        top += tf.shape(block)[0]
        column.append(tf.pad(block, [[0, 0], [0, width - tf.shape(block)[1]]]))
    height = tf.maximum(tf.shape(first)[0], top)
    sides = [
        tf.pad(side, [[0, height - tf.shape(side)[0]], [0, 0]])
        for side in (first, tf.concat(column, axis=0))
    ]
    return Atlas(cells, tf.concat(sides, axis=1), tf.stack([tf.stack(o) for o in origins]))


class _Placed(NamedTuple):
    """N boxes on an atlas; positions are [y, x] in its cells."""

    image: tf.Tensor  # (N,) int32, where in the batch
    corner: tf.Tensor  # (N, 2) float32, upper left
    bin_size: tf.Tensor  # (N, 2) float32
    lowest: tf.Tensor  # (N, 2) float32. Points beyond `lowest` and `highest` read 0
    highest: tf.Tensor  # (N, 2) float32


def _place(boxes, levels, features, origins, strides, bins, aligned, corners):
    """Image pixels -> `_Placed`; arguments as those of `roi_align`."""
    image = tf.repeat(tf.range(tf.shape(boxes)[0]), tf.shape(boxes)[1])
    boxes, levels = tf.reshape(boxes, [-1, 4]), tf.reshape(levels, [-1])
    cells = tf.gather(boxes, [1, 0, 3, 2], axis=1)  # TF wants [y1, x1, y2, x2]
    cells *= tf.gather(cells_per_pixel(strides), levels)[:, None]
    origin = tf.cast(tf.gather(origins, levels), tf.float32)
    sizes = tf.cast(tf.stack([tf.shape(f)[1:3] for f in features]), tf.float32)
    sizes = tf.gather(sizes, levels)
    if corners:  # the first and last cell of a map lie on the first and last pixel of the canvas
        stride = tf.gather(tf.constant(strides, tf.float32), levels)[:, None]
        cells *= tf.tile((sizes - 1) / (sizes - 1 / stride), [1, 2])
        bin_size = (cells[:, 2:] - cells[:, :2]) / (bins - 1)
        corner = cells[:, :2] - bin_size / 2 + origin
    else:
        bin_size = (cells[:, 2:] - cells[:, :2]) / bins
        if not aligned:
            bin_size = tf.maximum(bin_size, 1 / bins)
        corner = cells[:, :2] - (0.5 if aligned else 0.0) + origin
    return _Placed(image, corner, bin_size, origin - 1, origin + sizes)


def _crop_and_average(atlas, placed, bins, ratio, bounded):
    """Pools ratio x ratio points a bin, through CropAndResize.

    Args:
        atlas: (B, H, W, K) float32.
        placed: `_Placed`, N boxes.
        bins, ratio: int.
        bounded: bool. Whether points may lie beyond `placed.lowest` and `placed.highest`.

    Returns:
        (N, bins, bins, K) float32.
    """
    grid, step = bins * ratio, placed.bin_size / ratio
    first, extent = placed.corner + step / 2, tf.cast(tf.shape(atlas)[1:3] - 1, tf.float32)
    corners = tf.concat([first / extent, (first + step * (grid - 1)) / extent], axis=1)
    samples = tf.image.crop_and_resize(atlas, corners, placed.image, [grid, grid])
    if bounded:
        at = first[..., None] + step[..., None] * tf.range(grid, dtype=tf.float32)  # (N, 2, grid)
        inside = (at >= placed.lowest[..., None]) & (at <= placed.highest[..., None])
        inside = tf.cast(inside, tf.float32)
        samples *= (inside[:, 0, :, None] * inside[:, 1, None, :])[..., None]
    return tf.nn.avg_pool2d(samples, ratio, ratio, "VALID")


def _maxima_of_points(points, ratio):
    """(N, bins * ratio, bins * ratio, K) -> the maximum of each bin, (N, bins, bins, K)."""
    pool = [tf.nn.max_pool2d, tf.nn.avg_pool2d]
    pool, other = (lambda f=f: f(points, ratio, ratio, "VALID") for f in pool)
    # On CPUs the gradient of MaxPool ends the process if there is no box.
    return pool() if is_portable() else tf.cond(tf.size(points) > 0, pool, other)


def _in_parts(pool, placed, count=4):
    """Pools a part of the boxes at a time: the points of all would need four times the memory."""
    size, pooled = tf.shape(placed.image)[0], []
    for i in range(count):
        with tf.control_dependencies(pooled[-1:]):
            part = slice(i * size // count, (i + 1) * size // count)
            pooled.append(pool(_Placed(*(values[part] for values in placed))))
    return tf.concat(pooled, axis=0)


def _axis_reads(placed, axis, bins, ratio):
    """Which cells the points of a bin read along one axis, and with what share.

    Args:
        placed: `_Placed`, N boxes.
        axis: 0 for y, 1 for x.
        bins: int m.
        ratio: int. Points a bin, or 0: as many as it has cells, rounded up.

    Returns:
        cells: (N, m, w) int32. The w cells of each bin's window.
        weights: (N, m, w) float32. They add up to 1, or to less if a point reads nothing.
    """
    corner, bin_size, lowest, highest = (x[:, axis, None, None] for x in placed[1:])
    count = tf.fill(tf.shape(bin_size), float(ratio))
    if not ratio:
        count = tf.maximum(tf.math.ceil(bin_size), 0.0)
    # At least one point: the greatest of no boxes is -inf, and boxes without area have none.
    i = tf.range(float(ratio) or tf.maximum(tf.reduce_max(count), 1.0))
    within = tf.math.divide_no_nan(i + 0.5, count)
    position = corner + (tf.range(bins, dtype=tf.float32)[:, None] + within) * bin_size  # (N, m, n)
    inside = (position >= lowest) & (position <= highest) & (i < count)
    position = tf.where(inside, position, lowest)
    first = tf.reduce_min(tf.where(inside, tf.floor(position), highest), axis=2, keepdims=True)
    width = 2.0
    if ratio != 1:
        spread = tf.reduce_max(tf.where(inside, tf.floor(position) - first, 0.0))
        width += tf.maximum(spread, 0.0)  # -inf without boxes
    window = first + tf.range(width)
    # Bilinear interpolation is a tent that reaches one cell to both sides.
    tents = tf.maximum(0.0, 1.0 - tf.abs(position[..., None] - window[:, :, None]))
    weights = tf.reduce_sum(tents * tf.cast(inside, tf.float32)[..., None], axis=2)
    weights = tf.where(window <= highest, tf.math.divide_no_nan(weights, count), 0.0)
    return tf.cast(tf.minimum(window, highest), tf.int32), weights


def _gather_and_average(atlas, placed, bins, ratio):
    """Pools through gathers, which other runtimes have; arguments as those of `roi_align`.

    One pair of cells after the other, so that memory is that of a few results.
    """
    shape, depth = tf.shape(atlas), atlas.shape[-1]
    cells, reads = tf.reshape(atlas, [-1, depth]), []
    for axis in (0, 1):
        if ratio:  # two cells a point, not all those between the first point and the last
            points = placed._replace(bin_size=placed.bin_size / ratio)
            read = _axis_reads(points, axis, bins * ratio, 1)
            reads += [tf.reshape(x, [-1, bins, 2 * ratio]) for x in read]
        else:
            reads += _axis_reads(placed, axis, bins, 0)
    rows, row_weights, columns, column_weights = reads
    rows += shape[1] * placed.image[:, None, None]
    width = tf.shape(columns)[2]

    def add(i, pooled):
        row, row_weight = (tf.gather(x, i // width, axis=2) for x in (rows, row_weights))
        column, column_weight = (tf.gather(x, i % width, axis=2) for x in (columns, column_weights))
        weight = row_weight[:, :, None] * column_weight[:, None]
        read = tf.gather(cells, row[:, :, None] * shape[2] + column[:, None])
        return i + 1, pooled + read * weight[..., None]

    pooled = tf.zeros([tf.shape(rows)[0], bins, bins, depth])
    pooled = tf.while_loop(lambda i, _: i < tf.shape(rows)[2] * width, add, [0, pooled])[1]
    return pooled / max(ratio, 1) ** 2


def _pooling_matrix(atlas, placed, bins, ratio):
    """Pooling is linear in the cells, and its bins are separable: the matrix of it.

    Args:
        atlas: `Atlas`.
        placed: `_Placed`, N boxes.
        bins, ratio: as in `_axis_reads`.

    Returns:
        indices: (Z, 2) int64. Bin of N * bins * bins, cell of all images' `atlas.cells`.
        values: (Z,) float32, not 0.
    """
    rows, row_weights = _axis_reads(placed, 0, bins, ratio)
    columns, column_weights = _axis_reads(placed, 1, bins, ratio)
    # Axes: box, bin row, bin column, cell row, cell column.
    width = tf.shape(atlas.index)[1]
    places = rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weights = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    weights, places = tf.reshape(weights, [-1]), tf.reshape(places, [-1])
    read = tf.where(weights > 0)[:, 0]
    bin_reads = tf.cast(tf.shape(rows)[2] * tf.shape(columns)[2], tf.int64)
    bin_read = read // bin_reads
    cells = tf.gather(tf.reshape(atlas.index, [-1]), tf.gather(places, read))
    image = tf.gather(placed.image, bin_read // bins**2)
    cells = tf.cast(cells + image * tf.shape(atlas.cells)[1], tf.int64)
    return tf.stack([bin_read, cells], axis=1), tf.gather(weights, read)


def _multiply(indices, values, rows, dense):
    """A sparse matrix of `rows` rows times (columns, K) -> (rows, K)."""
    columns = tf.shape(dense, tf.int64)[0]
    matrix = tf.SparseTensor(indices, values, [tf.cast(rows, tf.int64), columns])
    # The product runs on one thread; parts of the channels run side by side.
    parts = max(n for n in (1, 2, 3, 4) if dense.shape[1] % n == 0)
    parts = tf.split(dense, parts, axis=1)
    return tf.concat([tf.sparse.sparse_dense_matmul(matrix, part) for part in parts], axis=1)


def check_sampling(sampling_ratio, pooling):
    """Raises a ValueError for points that cannot be pooled; arguments as those of `roi_align`."""
    if sampling_ratio < 0:
        raise ValueError(
            f"sampling_ratio must be at least 0. Received: sampling_ratio={sampling_ratio}."
        )
    if pooling not in ("average", "max"):
        raise ValueError(f"pooling must be average or max. Received: pooling={pooling!r}.")
    if pooling == "max" and not sampling_ratio:
        raise ValueError(
            "pooling='max' needs as many points in every bin. "
            f"Received: sampling_ratio={sampling_ratio}."
        )


def roi_align(
    features,
    boxes,
    levels,
    *,
    output_size,
    strides,
    sampling_ratio=2,
    aligned=True,
    pooling="average",
    bounded=False,
    corners=False,
):
    """Pools each box to a fixed grid without rounding its corners (RoIAlign, §3).

    Only `features` get a gradient, and not by CropAndResizeGradImage: on CPUs its threads add to
    the same cells without a lock and lose gradients (tensorflow/tensorflow#42033).

    Args:
        features: list of L (B, Hl, Wl, K) float. Feature maps, finest first.
        boxes: (B, R, 4) float32 [x1, y1, x2, y2] in image pixels. Points more than one cell
            outside their map read 0; with more than one map, aligned and a fixed ratio, boxes must
            lie in the image, or `bounded` be true.
        levels: (B, R) int32 in [0, L). The map that each box is pooled from.
        output_size: int m. Bins per side: 7 for boxes, 14 for masks (Figure 4).
        strides: L numbers. Image pixels per cell of each map.
        sampling_ratio: int n. n x n points are pooled per bin; the paper uses 2. 0 takes as many
            as a bin has cells a side, rounded up (detectron2).
        aligned: bool. Whether value i of a map sits at i + 0.5; else it sits at i, and boxes are at
            least a cell wide (torchvision's models).
        pooling: "average" or "max" of the points of a bin (Table 2c).
        bounded: bool. Whether to look for points beyond their map, which costs time.
        corners: bool. Whether the outermost bins are centered on the box's corners, and cells span
            the canvas from its first pixel to its last, as CropAndResize has it. It takes the place
            of `aligned`; `output_size` is at least 2 then.

    Returns:
        (B, R, m, m, K) in the dtype of `features`.

    Raises:
        ValueError: if `sampling_ratio` is below 0, or 0 with `pooling="max"`, or there is no such
            `pooling`.
    """
    check_sampling(sampling_ratio, pooling)
    bins, depth = output_size, features[0].shape[-1]
    shape = [*tf.unstack(tf.shape(boxes)[:2]), bins, bins, depth]  # of the result
    if pooling == "max":
        grid = bins * sampling_ratio
        points = roi_align(
            features,
            boxes,
            levels,
            output_size=grid,
            strides=strides,
            sampling_ratio=1,
            aligned=aligned,
            bounded=bounded,
        )
        points = tf.reshape(points, [-1, grid, grid, depth])
        return tf.reshape(_maxima_of_points(points, sampling_ratio), shape)
    atlas = pyramid_atlas(features)
    placed = _place(boxes, levels, features, atlas.origins, strides, bins, aligned, corners)
    dtype, cells_shape = atlas.cells.dtype, tf.shape(atlas.cells)
    bounded = bounded or not (aligned or corners)

    @tf.custom_gradient
    def pool(cells):
        matrix = None
        if not sampling_ratio and not is_portable():
            matrix = _pooling_matrix(atlas, placed, bins, sampling_ratio)
            rows = tf.size(placed.image) * bins**2
            pooled = _multiply(*matrix, rows, tf.reshape(cells, [-1, depth]))
        else:
            laid_out = atlas._replace(cells=cells).map()
            if is_portable():
                pooled = _gather_and_average(laid_out, placed, bins, sampling_ratio)
            else:  # several times faster, but only for as many points in every bin
                pooled = _in_parts(
                    lambda part: _crop_and_average(laid_out, part, bins, sampling_ratio, bounded),
                    placed,
                )

        def gradient(upstream):
            indices, values = matrix or _pooling_matrix(atlas, placed, bins, sampling_ratio)
            upstream = tf.reshape(upstream, [-1, depth])
            transposed = tf.reverse(indices, [1])
            num_cells = cells_shape[0] * cells_shape[1]
            return tf.reshape(_multiply(transposed, values, num_cells, upstream), cells_shape)

        return tf.reshape(pooled, shape), gradient

    # CropAndResize has no bfloat16 kernel.
    pooled = gradients_of_graph(pool(tf.cast(atlas.cells, tf.float32)))
    return tf.cast(pooled, dtype)


class RoILayer(keras.layers.Layer):
    """What the RoI operations share: the level of each box (FPN Eq. 1).

    Each has a method `pool(features, boxes, levels)`.

    Args:
        output_size: int m. Bins per side.
        strides: L numbers, image pixels per cell of each map, finest first.
        canonical_size, level_rule: as in `roi_levels`.

    Call: list of L (B, Hl, Wl, K), boxes (B, R, 4) -> (B, R, m, m, K).

    Raises:
        ValueError: if `output_size` is below 1.
    """

    def __init__(
        self, output_size, strides, canonical_size=224.0, level_rule="detectron2", **kwargs
    ):
        # Autocasting would round the boxes to bfloat16, by up to 4 pixels at 1000.
        super().__init__(**{"autocast": False, **kwargs})
        if output_size < 1:
            raise ValueError(f"output_size must be positive. Received: output_size={output_size}.")
        self.output_size, self.strides = output_size, tuple(strides)
        self.canonical_size, self.level_rule = canonical_size, level_rule
        self.supports_jit = False  # XLA lacks CropAndResize and shapes that depend on the boxes
        self.built = True  # no weights

    def call(self, features, boxes):
        canonical_size = self.canonical_size
        if self.level_rule == "matterport":  # which measures as `roi_align` does with corners
            canvas = tf.cast(tf.shape(features[0])[1:3] * self.strides[0], tf.float32)
            canonical_size *= tf.sqrt(tf.reduce_prod((canvas - 1) / canvas))
        levels = roi_levels(boxes, len(self.strides), canonical_size, self.level_rule)
        return self.pool([tf.cast(f, self.compute_dtype) for f in features], boxes, levels)

    def compute_output_shape(self, features_shape, boxes_shape):
        return (*boxes_shape[:2], self.output_size, self.output_size, features_shape[0][-1])

    def get_config(self):
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "canonical_size": self.canonical_size,
            "level_rule": self.level_rule,
        }


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class RoIAlign(RoILayer):
    """`roi_align` with the level of each box by its size; see `RoILayer`.

    Args:
        output_size, strides, canonical_size, level_rule: as in `RoILayer`.
        sampling_ratio, aligned, pooling: as in `roi_align`.

    Raises:
        ValueError: as `RoILayer` and `roi_align`.
    """

    def __init__(
        self,
        output_size,
        strides,
        sampling_ratio=2,
        canonical_size=224.0,
        aligned=True,
        level_rule="detectron2",
        pooling="average",
        **kwargs,
    ):
        super().__init__(output_size, strides, canonical_size, level_rule, **kwargs)
        check_sampling(sampling_ratio, pooling)
        self.sampling_ratio, self.aligned, self.pooling = sampling_ratio, aligned, pooling

    def pool(self, features, boxes, levels):
        return roi_align(
            features,
            boxes,
            levels,
            output_size=self.output_size,
            strides=self.strides,
            sampling_ratio=self.sampling_ratio,
            aligned=self.aligned,
            pooling=self.pooling,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "sampling_ratio": self.sampling_ratio,
            "aligned": self.aligned,
            "pooling": self.pooling,
        }
