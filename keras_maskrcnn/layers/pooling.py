"""Two ways to average the points of bins on a map without a pooling matrix.

`crop_and_average` is the faster one. `gather_and_average` is for runtimes without CropAndResize.
"""

import tensorflow as tf

from keras_maskrcnn.layers.atlas import PlacedBoxes
from keras_maskrcnn.layers.pooling_matrix import axis_reads
from keras_maskrcnn.ops.cropping import crop_and_resize


def crop_and_average(
    atlas_map: tf.Tensor, placed: PlacedBoxes, bins: int, ratio: int, bounded: bool, parts: int = 4
) -> tf.Tensor:
    """Averages ratio x ratio points per bin, read by CropAndResize.

    It handles one part of the boxes after the other, because the points of all boxes at once would
    need `parts` times the memory.

    Args:
        atlas_map: (B, H, W, K) float32. `Atlas.map()`.
        placed: `PlacedBoxes`, N of them.
        bins: int m. Bins per side.
        ratio: int, at least 1.
        bounded: bool. Whether points may lie beyond `placed.lowest` and `placed.highest`.
        parts: int. Number of parts that the boxes are divided into.

    Returns:
        (N, m, m, K) float32.
    """
    size = tf.shape(placed.image)[0]
    pooled: list[tf.Tensor] = []
    for i in range(parts):
        with tf.control_dependencies(pooled[-1:]):
            part = slice(i * size // parts, (i + 1) * size // parts)
            boxes = PlacedBoxes(*(values[part] for values in placed))
            points = _crop(atlas_map, boxes, bins * ratio, boxes.bin_size / ratio, bounded)
            pooled.append(tf.nn.avg_pool2d(points, ratio, ratio, "VALID"))
    return tf.concat(pooled, axis=0)


def _crop(atlas_map, placed, grid, step, bounded):
    """Reads grid x grid points per box, (N, 2) `step` cells apart -> (N, grid, grid, K)."""
    first, extent = placed.corner + step / 2, tf.cast(tf.shape(atlas_map)[1:3] - 1, tf.float32)
    corners = tf.concat([first / extent, (first + step * (grid - 1)) / extent], axis=1)
    points = crop_and_resize(atlas_map, corners, placed.image, [grid, grid])
    if bounded:
        at = first[..., None] + step[..., None] * tf.range(grid, dtype=tf.float32)  # (N, 2, grid)
        inside = (at >= placed.lowest[..., None]) & (at <= placed.highest[..., None])
        inside = tf.cast(inside, tf.float32)
        points *= (inside[:, 0, :, None] * inside[:, 1, None, :])[..., None]
    return points


def gather_and_average(
    atlas_map: tf.Tensor, placed: PlacedBoxes, bins: int, ratio: int
) -> tf.Tensor:
    """Averages the points of each bin, read by gathers.

    To save memory, it reads one cell per bin at a time and adds it to a running sum.

    Args:
        atlas_map, placed, bins: as in `crop_and_average`. Points below `placed.lowest` or above
            `placed.highest` read 0.
        ratio: int. Points per side of a bin. 0 takes as many as the bin has cells, rounded up.

    Returns:
        (N, m, m, K) float32.
    """
    shape, depth = tf.shape(atlas_map), atlas_map.shape[-1]
    cells, reads = tf.reshape(atlas_map, [-1, depth]), []
    for axis in (0, 1):
        if ratio:  # read two cells per point, not all cells from the first point to the last
            points = placed._replace(bin_size=placed.bin_size / ratio)
            read = axis_reads(points, axis, bins * ratio, 1)
            reads += [tf.reshape(x, [-1, bins, 2 * ratio]) for x in read]
        else:
            reads += axis_reads(placed, axis, bins, 0)
    rows, row_weights, columns, column_weights = reads
    rows += shape[1] * placed.image[:, None, None]
    width = tf.shape(columns)[2]

    def cell(i):
        row, row_weight = (tf.gather(x, i // width, axis=2) for x in (rows, row_weights))
        column, column_weight = (tf.gather(x, i % width, axis=2) for x in (columns, column_weights))
        weight = row_weight[:, :, None] * column_weight[:, None]
        read = tf.gather(cells, row[:, :, None] * shape[2] + column[:, None])
        return read * weight[..., None]

    def add(i, pooled):
        return i + 1, pooled + cell(i)

    # The sum begins with the first cell, not with zeros: a file would store these as a constant.
    count = tf.shape(rows)[2] * width
    pooled = tf.while_loop(lambda i, _: i < count, add, [1, cell(0)])[1]
    return pooled / max(ratio, 1) ** 2
