"""Which images make up which batch: a function of the seed, the epoch and nothing else.

So a run that was stopped goes on with the batch that came next, without reading those before.
"""

import itertools

import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops.python import numpy_function

# As torchvision's reference training bins them (references/detection/group_by_aspect_ratio.py).
ASPECT_RATIOS = 2.0 ** (np.arange(-3, 4) / 3)


def aspect_groups(sizes: np.ndarray) -> np.ndarray:
    """Returns (I,) int64: images of one group differ in width / height by less than 1.26.

    Args:
        sizes: (I, 2) int. Height and width of every image.
    """
    heights, widths = np.asarray(sizes).T
    return np.digitize(widths / heights, ASPECT_RATIOS)


def epoch_order(
    count: int, batch_size: int, *, groups: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Draws an order of training images in which each batch has one group, as far as possible.

    What is left of each group is joined to mixed batches; fewer than B images are left out, other
    ones each time. Images are repeated only if there are fewer than B.

    Args:
        count: int I >= 1.
        batch_size: int B.
        groups: (I,) int. What each image belongs to.
        rng: np.random.Generator, or None for images one after the other, whatever their group.

    Returns:
        (N,) int64 in [0, I), N = max(I // B, 1) * B; batch k has the entries from k * B on.
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


def training_positions(
    count: int,
    batch_size: int,
    *,
    groups: np.ndarray,
    seed: int,
    shuffle: bool = True,
    repeat: bool = False,
    first_step: int = 0,
) -> tf.data.Dataset:
    """Yields which images to load, batch after batch.

    Args:
        count, batch_size, groups: as in `epoch_order`.
        seed: int >= 0.
        shuffle: whether to draw a new order in each epoch.
        repeat: whether to go on forever. If not, every iteration over the data set is an epoch.
        first_step: int. Batches to leave out at the beginning.

    Returns:
        index: () int64 in [0, I).
        seed: (2,) int32 >= 0, for what is random about this image this time.
    """

    def draw(epoch):
        rng = np.random.default_rng([seed, epoch])
        order = epoch_order(count, batch_size, groups=groups, rng=rng if shuffle else None)
        return order, rng.integers(2**31, size=(len(order), 2), dtype=np.int32)

    def images(epoch):
        order, seeds = numpy_function(draw, [epoch], [tf.int64, tf.int32], stateful=False)
        order, seeds = tf.ensure_shape(order, [None]), tf.ensure_shape(seeds, [None, 2])
        return tf.data.Dataset.from_tensor_slices((order, seeds))

    # Not tf.data.Dataset.random: its numbers depend on TensorFlow's global seed too.
    first_epoch, first_batch = divmod(first_step, max(count // batch_size, 1))
    if repeat:
        # Not a counter, of which TensorFlow keeps a function for ever.
        epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    else:
        # Not from_generator, which several workers take for a file that they cannot share.
        iterations = itertools.count(first_epoch)
        epochs = tf.data.Dataset.range(1).map(
            lambda _: tf.ensure_shape(numpy_function(lambda: next(iterations), [], tf.int64), [])
        )
    return epochs.flat_map(images).skip(first_batch * batch_size)


def positions_in_turn(count: int, *, repeat: bool = False) -> tf.data.Dataset:
    """Yields every image in the order of the data set, as `training_positions` does.

    Args:
        count: int I.
        repeat: whether to go on forever.

    Returns:
        index: () int64 in [0, I).
        seed: (2,) int32, zeros.
    """
    positions = tf.data.Dataset.range(count).map(lambda i: (i, tf.zeros([2], tf.int32)))
    return positions.repeat() if repeat else positions
