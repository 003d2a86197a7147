"""Pooling as a sparse matrix: the cells of an atlas that each bin reads, with their weights."""

from typing import NamedTuple

import tensorflow as tf

from keras_maskrcnn.layers.atlas import Atlas, PlacedBoxes


class PoolingMatrix(NamedTuple):
    """The sparse matrix of average pooling, which is linear in the cells: bins = matrix @ cells.

    Attributes:
        indices: (Z, 2) int64. Bin in [0, N * m * m), and cell in all images' `Atlas.cells`.
        values: (Z,) float32. Weights, not 0.
    """

    indices: tf.Tensor
    values: tf.Tensor

    def pool(self, cells: tf.Tensor, num_bins: int | tf.Tensor) -> tf.Tensor:
        """Averages the cells of all images: (cells, K) -> (num_bins, K) float32."""
        return _multiply(self.indices, self.values, num_bins, cells)

    def gradient(self, upstream: tf.Tensor, num_cells: int | tf.Tensor) -> tf.Tensor:
        """Distributes the bins' gradients to the cells: (N * m * m, K) -> (num_cells, K)."""
        return _multiply(tf.reverse(self.indices, [1]), self.values, num_cells, upstream)


def pooling_matrix(atlas: Atlas, placed: PlacedBoxes, bins: int, ratio: int) -> PoolingMatrix:
    """Makes the pooling matrix of boxes.

    Bins are separable: a bin's weights are those of its rows times those of its columns.

    Args:
        atlas: `Atlas`.
        placed: `PlacedBoxes`, N of them.
        bins, ratio: as in `axis_reads`.

    Returns:
        `PoolingMatrix`.
    """
    rows, row_weights = axis_reads(placed, 0, bins, ratio)
    columns, column_weights = axis_reads(placed, 1, bins, ratio)
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
    return PoolingMatrix(tf.stack([bin_read, cells], axis=1), tf.gather(weights, read))


def axis_reads(
    placed: PlacedBoxes, axis: int, bins: int, ratio: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the cells that the points of each bin read along one axis, and their weights.

    Args:
        placed: `PlacedBoxes`, N of them.
        axis: 0 for y, 1 for x.
        bins: int m.
        ratio: int. Points per bin on this axis. 0 takes as many as the bin has cells, rounded up.

    Returns:
        cells: (N, m, w) int32. The w cells of each bin's window.
        weights: (N, m, w) float32. A bin's weights add up to 1, or to less if some of its points
            lie outside the map.
    """
    corner, bin_size, lowest, highest = (x[:, axis, None, None] for x in placed[1:])
    count = tf.fill(tf.shape(bin_size), float(ratio))
    if not ratio:
        count = tf.maximum(tf.math.ceil(bin_size), 0.0)
    # At least one point: without boxes the maximum is -inf, and boxes without area have 0 points.
    i = tf.range(float(ratio) or tf.maximum(tf.reduce_max(count), 1.0))
    within = tf.math.divide_no_nan(i + 0.5, count)
    position = corner + (tf.range(bins, dtype=tf.float32)[:, None] + within) * bin_size  # (N, m, n)
    inside = (position >= lowest) & (position <= highest) & (i < count)
    position = tf.where(inside, position, lowest)
    first = tf.reduce_min(tf.where(inside, tf.floor(position), highest), axis=2, keepdims=True)
    width = 2.0
    if ratio != 1:
        spread = tf.reduce_max(tf.where(inside, tf.floor(position) - first, 0.0))
        width += tf.maximum(spread, 0.0)  # spread is -inf without boxes
    window = first + tf.range(width)
    # The weights of bilinear interpolation form a tent that reaches one cell to each side.
    tents = tf.maximum(0.0, 1.0 - tf.abs(position[..., None] - window[:, :, None]))
    weights = tf.reduce_sum(tents * tf.cast(inside, tf.float32)[..., None], axis=2)
    weights = tf.where(window <= highest, tf.math.divide_no_nan(weights, count), 0.0)
    return tf.cast(tf.minimum(window, highest), tf.int32), weights


def _multiply(indices, values, rows, dense):
    """Multiplies a sparse matrix of `rows` rows with (columns, K) -> (rows, K)."""
    columns = tf.shape(dense, tf.int64)[0]
    matrix = tf.SparseTensor(indices, values, [tf.cast(rows, tf.int64), columns])
    # One product runs on one thread only. Products of parts of the channels run in parallel.
    parts = max(n for n in (1, 2, 3, 4) if dense.shape[1] % n == 0)
    parts = tf.split(dense, parts, axis=1)
    return tf.concat([tf.sparse.sparse_dense_matmul(matrix, part) for part in parts], axis=1)
