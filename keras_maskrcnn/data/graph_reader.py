"""Reads examples inside the graph of tf.data, and skips or raises for unreadable images."""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import has_ignored, has_masks
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops.python import numpy_function
from keras_maskrcnn.typing import Dataset, Proposals, Tensors


def reader(
    dataset: Dataset, targets: bool, proposals: Proposals | None, cache: bool, on_error: str
) -> Callable[[tf.Tensor], Tensors]:
    """Makes the function that reads an example inside the graph.

    A data set may have a method `in_graph(targets)`. It returns a function like the result of this
    one, made of TensorFlow's operations only, or None. It reads if it can, and Python otherwise.

    Args:
        dataset, targets, proposals, cache, on_error: as in `data.batches`.

    Returns:
        A function of an index, () int64, that returns a dict. It has `image` (H, W, C) and `index`
            () int32, which differs from the argument if the image was skipped. 255 is white in the
            image. It is uint8, or float32 if the data set has another dtype or `pixel_max`. With
            targets
            it also has `boxes` (n, 4), `labels` (n,) and, if the data set has masks, `masks`
            (n, M, M), and `ignored` (r, 4) if it has such regions. With proposals it also has
            `proposals` (p, 4) float32.
    """
    alone: Callable[[tf.Tensor], Tensors] | None = None
    if hasattr(dataset, "in_graph") and proposals is None and not cache and on_error == "raise":
        alone = dataset.in_graph(targets)
    load = dataset.load if targets else lambda i: {"image": dataset.load_image(i)}
    load = functools.cache(load) if cache else load
    entries = _entries(dataset, targets, proposals)
    reading = Reading.of(dataset)

    def read(index):
        index, example = _load_or_next(dataset, load, int(index), on_error)
        _check_pixels(example["image"], dataset, index, reading)
        example = {**example, "index": np.int32(index)}
        if proposals is not None:
            ids = dataset.image_ids  # type: ignore[attr-defined]  # see typing.Dataset
            boxes, _ = proposals.get(ids[index])
            example = {**example, "proposals": np.asarray(boxes, np.float32)}
        return [example[name] for name in entries]

    def read_alone(index):
        assert alone is not None  # a type checker cannot see where this is called
        example = alone(index)
        return [*example, "index"], [*example.values(), tf.cast(index, tf.int32)]

    def read_by_python(index):
        dtypes = [dtype for dtype, _ in entries.values()]
        return entries, numpy_function(read, [index], dtypes, stateful=False)

    def read_in_graph(index):
        names, values = read_by_python(index) if alone is None else read_alone(index)
        example = {
            name: tf.ensure_shape(value, entries[name][1])
            for name, value in zip(names, values, strict=True)
        }
        image = image_ops.scale_pixels(example["image"], reading.pixel_max)
        return {**example, "image": image}

    return read_in_graph


def _entries(dataset, targets, proposals):
    """Returns a dict of the name of each entry to its (dtype, shape)."""
    reading = Reading.of(dataset)
    pixels = tf.as_dtype(reading.image_dtype), [None, None, reading.channels]
    entries = {"image": pixels, "index": (tf.int32, [])}
    if targets:
        entries |= {"boxes": (tf.float32, [None, 4]), "labels": (tf.int32, [None])}
        if has_masks(dataset):
            entries["masks"] = tf.uint8, [None, *[dataset.mask_size] * 2]
        if has_ignored(dataset):
            entries["ignored"] = tf.float32, [None, 4]
    if proposals is not None:
        entries["proposals"] = tf.float32, [None, 4]
    return entries


def _check_pixels(image, dataset, index, reading):
    """Raises DataError if a data set's image is not what its attributes say."""
    if image.ndim == 3 and (image.shape[2], image.dtype) == (reading.channels, reading.image_dtype):
        return
    raise DataError(
        f"{dataset.file_names[index]}: the data set's images must be (H, W, {reading.channels})"
        f" {reading.image_dtype}, as its attributes channels and image_dtype say."
        f" Received: {image.shape} {image.dtype}."
    )


def _load_or_next(dataset, load, index, on_error):
    """Returns the index and the example of an image; with "skip", of the next readable image."""
    for candidate in range(index, index + len(dataset)):
        candidate %= len(dataset)
        try:
            return candidate, load(candidate)
        except DataError as error:
            if on_error == "raise":
                raise
            name, skipped = dataset.file_names[candidate], dataset.skipped
            skipped[name] = skipped.get(name, 0) + 1
            if skipped[name] == 1:
                logging.warning("skipped unreadable image %d: %s", len(skipped), error)
    raise DataError(f"{dataset.images}: none of {len(dataset)} images can be read.")
