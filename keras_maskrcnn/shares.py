"""Lets each worker of a strategy read its share of every batch only."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import distribution
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.origin import assembly_of, is_served
from keras_maskrcnn.distribution.replicas import rows_of_worker
from keras_maskrcnn.keras_private import set_cardinality, tell_other_workers


def for_keras(strategy: tf.distribute.Strategy, batches: Any) -> Any:
    """Prepares batches for Keras' `fit` or `evaluate` under a strategy of several workers.

    Args:
        strategy: tf.distribute.Strategy.
        batches: a tf.data.Dataset, or other data that Keras takes.

    Returns:
        With several workers, and unchanged batches of `data.batches`: a
            tf.distribute.DistributedDataset that reads this worker's rows only, a part for each of
            its replicas. Otherwise `batches`; TensorFlow then reads all of them on each worker.

    Raises:
        ValueError: with several workers, if there are more replicas than images in a batch for
            training, or a tf.data service makes the batches.
    """
    if distribution.worker(strategy)[1] == 1 or not isinstance(batches, tf.data.Dataset):
        return batches
    assembly = assembly_of(batches)
    if assembly is None and is_served(batches):
        raise ValueError(
            "batches of several workers must not come from a tf.data service: each worker would "
            "take its rows from other batches. Pass what data.batches returned, and each worker "
            "reads its rows. Received: batches of a service."
        )
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
) -> Iterator[tuple[list[Any], np.ndarray]]:
    """Yields what each replica of this worker computes, batch by batch, and reads nothing else.

    Args:
        strategy: tf.distribute.Strategy.
        batches: tf.data.Dataset of `data.batches` with training=False.

    Yields:
        list with a part of the batch for each replica of this worker. Rows that the last batch has
            no images for hold an image of 0 x 0 pixels.
        (b,) int. The indices in the data set of the images in all these parts. Such rows, which
            come last, are not among them.
    """
    assembly = assembly_of(batches)
    count, size = assembly.preparation.count, assembly.batch_size
    rows = rows_of_worker(strategy, size)
    elements = iter(assembly.share(rows))
    own = np.concatenate(rows)
    for first in range(0, count, size):
        parts = [next(elements) for _ in rows]
        for part in parts:
            part.pop("canvases", None)  # replicas that predict need no common canvas
        yield parts, first + own[first + own < count]


@contextlib.contextmanager
def failing_together(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Makes all workers fail at the end of the block if one of them failed in it.

    Every worker must come to the end of the block, and must not wait for others in it.

    Args:
        strategy: tf.distribute.Strategy, or None.

    Raises:
        DataError: if another worker raised one; it has the same message.
        RuntimeError: if another worker raised another error.
    """
    index, workers = distribution.worker(strategy)
    if workers == 1:
        yield
        return
    failure: Exception | None = None
    lines: list[Any] = []
    try:
        yield
    except Exception as error:
        failure, lines = error, [[index, isinstance(error, DataError), _line(error)]]
    lines = distribution.gather(strategy, lines)
    if failure is not None:
        raise failure
    for worker, of_data, line in lines:
        raise DataError(line) if of_data else RuntimeError(f"worker {worker} failed: {line}")


@contextlib.contextmanager
def ending_others(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Ends the steps in which other workers wait if this one fails in the block.

    They get an error with the same line, see `checks.plain_errors`. Afterwards no worker can
    reach another one, and all must start again.

    Args:
        strategy: tf.distribute.Strategy, or None.
    """
    try:
        yield
    except Exception as error:
        if distribution.worker(strategy)[1] > 1:
            kind = "DataError: " if isinstance(error, DataError) else ""
            tell_other_workers(f"{kind}{_line(error)}".partition("\n")[0])
        raise


def _line(error):
    return str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"


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
