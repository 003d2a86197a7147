"""Finds what is ours in what TensorFlow hands on: how batches were made, which error ended them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data import augment
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.keras_private import inputs_of_dataset

# Data sets of tf.data that hand on the elements of another.
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


def note(
    dataset: tf.data.Dataset,
    resizing: Mapping[str, Any],
    canvases: np.ndarray,
    augmentations: Sequence[Any],
) -> None:
    """Notes on a tf.data.Dataset what `made_with` says of it."""
    sides = np.ravel(resizing["min_side"]).tolist()
    dataset.made_with = {
        **resizing,
        "min_side": sides if len(sides) > 1 else sides[0],
        "canvases": len(canvases) > 0,
        "rescales": not all(map(_keeps_size, augmentations)),
    }


def made_with(dataset: Any) -> tuple[dict[str, Any] | None, bool]:
    """Finds what `batches` was called with, also through `take`, `map` and the like.

    Args:
        dataset: tf.data.Dataset; anything else is of unknown origin.

    Returns:
        dict of min_side, max_side, resize_rule, padding_multiple, whether there are `canvases`, and
        whether an augmentation `rescales` images; None if `batches` did not make it.
        bool: whether its batches are still as `batches` made them.
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


def data_error(exception: BaseException) -> str | None:
    """Finds our one-line message in what TensorFlow makes of a `DataError` in the pipeline.

    Returns:
        The message, also for a `DataError` itself; None if the exception is about something else.
    """
    if isinstance(exception, DataError):
        return str(exception)
    if not isinstance(exception, tf.errors.OpError):
        return None
    found = re.search(r"\bDataError: (.*)", exception.message)
    return found and found[1]


def _keeps_size(augmentation):
    """Whether an augmentation is known to leave an image's shorter and longer side."""
    function = getattr(augmentation, "func", augmentation)
    return function in (augment.random_flip, augment.random_rotate90, augment.color_jitter)
