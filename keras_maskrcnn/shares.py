"""Lets each worker of a strategy read its share of every batch only."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import distribution
from keras_maskrcnn.data.origin import assembly_of
from keras_maskrcnn.distribution.replicas import rows_of_worker
from keras_maskrcnn.keras_private import set_cardinality


def for_keras(strategy: tf.distribute.Strategy, batches: Any) -> Any:
    """Prepares batches for Keras' `fit` or `evaluate` under a strategy of several workers.

    Args:
        strategy: tf.distribute.Strategy.
        batches: a tf.data.Dataset, or other data that Keras takes.

    Returns:
        With several workers, and unchanged batches of `data.batches`: a
            tf.distribute.DistributedDataset that reads this worker's rows only, a part for each of
            its replicas. Otherwise `batches`; TensorFlow then reads all of them on each worker.
    """
    if distribution.worker(strategy)[1] == 1 or not isinstance(batches, tf.data.Dataset):
        return batches
    assembly = assembly_of(batches)
    if assembly is None:
        logging.warning(
            "each worker reads whole batches, not its share of them: they are not as data.batches "
            "made them. Its argument augment takes functions that change images."
        )
        return batches
    size, replicas = assembly.batch_size, strategy.num_replicas_in_sync
    if size < replicas:
        if assembly.preparation.training:
            raise ValueError(
                f"batch_size must be at least the number of replicas, {replicas}. "
                f"Received: batch_size={size}."
            )
        size = replicas  # a replica without an image computes a blank one
    rows = rows_of_worker(strategy, size)
    share = strategy.distribute_datasets_from_function(lambda context: assembly.share(rows))
    # TensorFlow counts an element for each replica; Keras takes the number for that of the steps.
    set_cardinality(share, int(batches.cardinality()))
    return share


def steps_of_worker(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset
) -> Iterator[tuple[list[Any], np.ndarray, np.ndarray]]:
    """Yields what each replica of this worker computes, batch by batch, and reads nothing else.

    Args:
        strategy: tf.distribute.Strategy.
        batches: tf.data.Dataset of `data.batches` with training=False.

    Yields:
        list with a part of the batch for each replica of this worker. Rows that the last batch has
            no images for hold an image of 0 x 0 pixels.
        (b,) int. The indices in the data set of the images in all these parts, without such rows.
        (b,) int. Their rows in the whole batch.
    """
    assembly = assembly_of(batches)
    count, size = assembly.preparation.count, assembly.batch_size
    rows = rows_of_worker(strategy, size)
    elements = iter(assembly.share(rows))
    own = np.concatenate(rows)
    for first in range(0, count, size):
        parts, here = [next(elements) for _ in rows], own[first + own < count]
        yield parts, first + here, here


def join_skipped(strategy: tf.distribute.Strategy | None, dataset: Any) -> None:
    """Adds to `dataset.skipped` the images that other workers could not read.

    Every worker must call it. Where several workers skipped an image, the largest count stays.

    Args:
        strategy: tf.distribute.Strategy, or None.
        dataset: a data set, see `typing.Dataset`. Without `skipped` it stays as it is.
    """
    skipped = getattr(dataset, "skipped", {})
    for name, count in distribution.gather(strategy, sorted(skipped.items())):
        skipped[name] = max(count, skipped.get(name, 0))
