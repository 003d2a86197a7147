"""Decides which images form which batch. This depends on the seed and the epoch only.

Therefore a stopped run can continue with the next batch, without reading the batches before it, and
several workers can each read other rows of the same batches.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops.python import numpy_function

# The bins of torchvision's reference training (references/detection/group_by_aspect_ratio.py).
ASPECT_RATIOS = 2.0 ** (np.arange(-3, 4) / 3)
MOST_DRAWN = 100_000_000


def aspect_groups(sizes: np.ndarray) -> np.ndarray:
    """Groups images by aspect ratio.

    Args:
        sizes: (I, 2) int. Height and width of every image.

    Returns:
        (I,) int64. The group of each image. Between the limits of 0.5 and 2, the ratios width /
            height in one group differ by a factor of less than 1.26.
    """
    heights, widths = np.asarray(sizes).T
    return np.digitize(widths / heights, ASPECT_RATIOS)


def epoch_order(
    count: int, batch_size: int, *, groups: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Draws an order of training images in which, if possible, each batch has images of one group.

    The remaining images of all groups form mixed batches. Fewer than B images are left out, other
    ones each time. Images are repeated only if I < B.

    Args:
        count: int I >= 1.
        batch_size: int B.
        groups: (I,) int. The group of each image.
        rng: np.random.Generator, or None to take the images in turn and ignore the groups.

    Returns:
        (N,) int64 in [0, I), with N = max(I // B, 1) * B. Batch k has the entries k * B to
            (k + 1) * B - 1.
    """
    order = np.arange(count)
    if rng is None:
        return np.resize(order, max(count // batch_size, 1) * batch_size)
    rng.shuffle(order)
    if count < batch_size:
        return np.resize(order, batch_size)
    whole, rest = [], []
    for group in np.unique(groups):
        members = order[groups[order] == group]
        full = len(members) // batch_size * batch_size
        whole.append(members[:full])
        rest.append(members[full:])
    ordered = np.concatenate(whole + rest)[: count // batch_size * batch_size]
    return rng.permutation(ordered.reshape(-1, batch_size)).ravel()


def _draw(epoch, count, batch_size, groups, seed, shuffle, rows):
    """Returns these rows of the batches of an epoch.

    Returns:
        (N,) int64. The indices of the images.
        (N, 2) int32. A seed for each image.
    """
    rng = np.random.default_rng([seed, epoch])
    order = epoch_order(count, batch_size, groups=groups, rng=rng if shuffle else None)
    seeds = rng.integers(2**31, size=(len(order), 2), dtype=np.int32)
    places = np.arange(len(order)).reshape(-1, batch_size)[:, rows].ravel()
    return order[places], seeds[places]


def training_positions(
    count: int,
    batch_size: int,
    *,
    groups: np.ndarray,
    seed: int,
    shuffle: bool = True,
    repeat: bool = False,
    first_step: int = 0,
    rows: np.ndarray | None = None,
    epochs: Iterator[int] | None = None,
) -> tf.data.Dataset:
    """Yields the indices of the images to load, batch after batch.

    Args:
        count, batch_size, groups: as in `epoch_order`.
        seed: int >= 0.
        shuffle: whether to draw a new order in each epoch.
        repeat: whether to continue without end. If False, each iteration over the data set is one
            epoch.
        first_step: int. Number of batches to skip at the beginning.
        rows: (b,) int in [0, B). The rows of each batch that this process loads; None for all.
        epochs: iterator over the numbers of the epochs, for repeat=False. By default they count
            from 0. Data sets that share it go on where another one stopped.

    Returns:
        tf.data.Dataset of index, () int64 in [0, I), and seed, (2,) int32 >= 0, for the random
            choices of this image in this epoch.
    """

    rows = np.arange(batch_size) if rows is None else rows
    draw = functools.partial(
        _draw,
        count=count,
        batch_size=batch_size,
        groups=groups,
        seed=seed,
        shuffle=shuffle,
        rows=rows,
    )

    def images(epoch):
        order, seeds = numpy_function(draw, [epoch], [tf.int64, tf.int32], stateful=False)
        order, seeds = tf.ensure_shape(order, [None]), tf.ensure_shape(seeds, [None, 2])
        return tf.data.Dataset.from_tensor_slices((order, seeds))

    # Not tf.data.Dataset.random: its numbers depend on TensorFlow's global seed too.
    first_epoch, first_batch = divmod(first_step, max(count // batch_size, 1))
    if repeat:
        # Not a Python counter: TensorFlow would keep its function forever.
        numbers = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    else:
        # Not from_generator: several workers would treat it as a file, which they cannot share.
        iterations = itertools.count(first_epoch) if epochs is None else epochs
        numbers = tf.data.Dataset.range(1).map(
            lambda _: tf.ensure_shape(numpy_function(lambda: next(iterations), [], tf.int64), [])
        )
    return numbers.flat_map(images).skip(first_batch * len(rows))


def drawn_positions(
    count: int,
    batch_size: int,
    *,
    groups: np.ndarray,
    seed: int,
    shuffle: bool = True,
    first_step: int = 0,
    steps: int,
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Yields what `training_positions` yields with `repeat`, up to a step and without Python.

    The order of all epochs is drawn now and kept in the graph: 12 bytes for each image that the run
    will see. A tf.data service can divide it among its workers by whole batches.

    Args:
        count, batch_size, groups, seed, shuffle, first_step, rows: as in `training_positions`.
        steps: int > first_step. The batch at which it ends, counted like `first_step`.
    """
    if (steps - first_step) * batch_size > MOST_DRAWN:  # TensorFlow's graphs hold 2 GB
        raise ValueError(
            f"steps must leave at most {MOST_DRAWN:,} images to read in one run."
            f" Received: steps={steps}, first_step={first_step}, batch_size={batch_size}."
        )
    rows = np.arange(batch_size) if rows is None else rows
    per_epoch = max(count // batch_size, 1)
    orders, seeds = [], []
    for epoch in range(first_step // per_epoch, -(-steps // per_epoch)):
        begin = max(first_step - epoch * per_epoch, 0) * len(rows)
        end = (steps - epoch * per_epoch) * len(rows)
        drawn = _draw(epoch, count, batch_size, groups, seed, shuffle, rows)
        orders.append(drawn[0][begin:end].astype(np.int32))
        seeds.append(drawn[1][begin:end])
    with tf.device("CPU:0"):
        order = tf.constant(np.concatenate(orders).reshape(-1, len(rows)))
        seed_of = tf.constant(np.concatenate(seeds).reshape(-1, len(rows), 2))

    def images(step):
        indices = tf.cast(order[step], tf.int64)
        return tf.data.Dataset.from_tensor_slices((indices, seed_of[step]))

    return tf.data.Dataset.range(steps - first_step).flat_map(images)


def positions_in_turn(count: int, *, repeat: bool = False) -> tf.data.Dataset:
    """Yields the images in the order of the data set.

    Args:
        count: int I.
        repeat: whether to continue without end.

    Returns:
        tf.data.Dataset of (index, seed), as `training_positions` returns. The seeds are zeros.
    """
    positions = tf.data.Dataset.range(count).map(lambda i: (i, tf.zeros([2], tf.int32)))
    return positions.repeat() if repeat else positions


def rows_in_turn(
    count: int, batch_size: int, rows: np.ndarray, *, repeat: bool = False
) -> tf.data.Dataset:
    """Yields some rows of the batches that `positions_in_turn` makes.

    Args:
        count: int I.
        batch_size: int B.
        rows: (b,) int. The rows of each batch that this process loads.
        repeat: whether to continue without end. Batches then go on from one epoch to the next.

    Returns:
        tf.data.Dataset of (index, seed) as from `positions_in_turn`, b of each batch. Without
            `repeat` the last batch may be short, and the index of its missing rows is -1. So is
            that of rows from B on.
    """

    def of_batch(number):
        first = number * batch_size
        indices = first + tf.constant(rows, tf.int64)
        indices = indices % count if repeat else tf.where(indices < count, indices, -1)
        indices = tf.where(tf.constant(rows < batch_size), indices, -1)
        return tf.data.Dataset.from_tensor_slices((indices, tf.zeros([len(rows), 2], tf.int32)))

    end = np.iinfo(np.int64).max // batch_size if repeat else -(-count // batch_size)
    return tf.data.Dataset.range(end).flat_map(of_batch)
