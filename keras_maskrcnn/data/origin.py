"""Finds out how the batches of a tf.data.Dataset were made, and which `DataError` ended them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data import augment
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.keras_private import inputs_of_dataset

# Kinds of tf.data.Dataset that pass on the elements of another one unchanged.
_KEEPING = (
    "AssertCardinality",
    "Cache",
    "Options",
    "Prefetch",
    "Repeat",
    "Shard",
    "Shuffle",
    "Skip",
    "Take",
)


_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")


def note(
    dataset: tf.data.Dataset,
    resizing: Mapping[str, Any],
    canvases: np.ndarray,
    augmentations: Sequence[Any],
    assembly: Any = None,
) -> None:
    """Stores on a tf.data.Dataset what `made_with` and `assembly_of` return later."""
    dataset.assembly = assembly
    sides = np.ravel(resizing["min_side"]).tolist()
    dataset.made_with = {
        **resizing,
        "min_side": sides if len(sides) > 1 else sides[0],
        "canvases": len(canvases) > 0,
        "rescales": not all(map(_keeps_size, augmentations)),
    }


def made_with(dataset: Any) -> tuple[dict[str, Any] | None, bool]:
    """Returns the arguments that `batches` was called with, also after `take`, `map` and so on.

    Args:
        dataset: tf.data.Dataset, or anything else.

    Returns:
        A dict of min_side, max_side, resize_rule, padding_multiple, `canvases` (bool, whether there
            are any) and `rescales` (bool, whether an augmentation may change sizes). None if
            `batches` did not make the dataset.
        A bool, whether its batches are still as `batches` made them.
    """
    untouched = True
    while isinstance(dataset, tf.data.Dataset):
        if hasattr(dataset, "made_with"):
            return dataset.made_with, untouched
        inputs = inputs_of_dataset(dataset)
        if len(inputs) != 1:
            break
        untouched &= type(dataset).__name__.strip("_").removesuffix("Dataset") in _KEEPING
        dataset = inputs[0]
    return None, False


def assembly_of(dataset: Any) -> Any:
    """Returns the `assembly.Assembly` of batches that `batches` made, also after `prefetch`.

    Args:
        dataset: tf.data.Dataset, or anything else.

    Returns:
        Assembly; None if `batches` did not make the dataset, or it was changed since.
    """
    while isinstance(dataset, tf.data.Dataset):
        if hasattr(dataset, "assembly"):
            return dataset.assembly
        if type(dataset).__name__.strip("_").removesuffix("Dataset") not in ("Options", "Prefetch"):
            return None
        (dataset,) = inputs_of_dataset(dataset)
    return None


def data_error(exception: BaseException) -> str | None:
    """Finds the one-line message of a `DataError` in the error that TensorFlow makes of it.

    Returns:
        The message, also for a `DataError` itself. None for any other exception.
    """
    if isinstance(exception, DataError):
        return str(exception)
    if not isinstance(exception, tf.errors.OpError):
        return None
    broken = re.search(r"\w+ record at \d+", exception.message)
    if broken and isinstance(exception, tf.errors.DataLossError):
        line = "a shard of records is broken; to open the data set again names the file."
        return f"{line} Received: {broken[0]}."
    found = re.search(r"assertion failed: \[DataError: (.*?\.)\]", exception.message)
    found = found or re.search(r"\bDataError: (.*)", exception.message)
    return found and found[1]


def calls_python(dataset: tf.data.Dataset) -> bool:
    """Returns whether a tf.data.Dataset calls Python functions, at any depth.

    Without them it can be read by a tf.data service, whose workers are other processes.
    """
    return any(operation in _PYTHON for operation in _operations(dataset))


def is_served(dataset: tf.data.Dataset) -> bool:
    """Returns whether a tf.data service makes the elements of a tf.data.Dataset."""
    return any(operation.startswith("DataService") for operation in _operations(dataset))


def _operations(dataset):
    """Yields the names of the operations in the graph of a tf.data.Dataset, at any depth."""
    graph = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(dataset), external_state_policy=1
    )
    definition = tf.compat.v1.GraphDef.FromString(graph.numpy())
    bodies = [definition.node, *(function.node_def for function in definition.library.function)]
    return (node.op for body in bodies for node in body)


def _keeps_size(augmentation):
    """Whether an augmentation is known to keep an image's shorter and longer side."""
    function = getattr(augmentation, "func", augmentation)
    return function in (augment.random_flip, augment.random_rotate90, augment.color_jitter)
