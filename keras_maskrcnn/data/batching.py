"""The entries of a batch, their shapes, and the padding that gives all images one shape.

A batch is x or (x, y). x is a dict:

- `images`: (B, H, W, C) float32, zero-padded on the right and below. 255 is white; RGB is in
  0..255.
- `sizes`: (B, 2) int32. Height and width of each image in `images`, without padding.
- `original_sizes`: (B, 2) int32. Height and width of each image before it was resized.
- `proposals`: (B, P, 4) float32 as `boxes`, highest score first, 0 in padding. Only if given.
- `indices`: (B,) int32. The index of each image in the data set. Only in training.

y is a dict:

- `boxes`: (B, G, 4) float32 [x1, y1, x2, y2] in pixels of `images`, 0 in padding.
- `labels`: (B, G) int32 in 1..C, 0 in padding.
- `masks`: (B, G, M, M) uint8. The share of each cell of the box that is covered, times 255. Absent
  with a data set that was read with masks=False.
- `ignored`: (B, K, 4) float32 as `boxes`, 0 in padding. Only with a data set that has such regions.

M and P are static; in training B is too. H, W, G and K are as large as the batch needs, rounded up
so that only a few values occur. `canvases` and `max_instances` fix H, W and G.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_maskrcnn.data import augment
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import has_ignored, has_masks
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import Dataset, Size, Tensors


def entry(example: Tensors, *, place: tf.Tensor | None, targets: bool) -> Any:
    """Makes the entry of one image in a batch.

    Args:
        example: dict as in `data.augment`, resized, with `original_size` (2,) int32.
        place: () int32. The image's index in the data set; None to leave it out.
        targets: whether there are annotations.

    Returns:
        x, or (x, y), as in the module's docstring, but without the axis B. Images of whole numbers
            may still be uint8.
    """
    inputs = {
        "images": example["image"],
        "sizes": tf.shape(example["image"])[:2],
        "original_sizes": example["original_size"],
    }
    if "proposals" in example:
        inputs["proposals"] = example["proposals"]
    if place is not None:
        inputs["indices"] = place
    if not targets:
        return inputs
    names = [*augment.instances(example), *(["ignored"] if "ignored" in example else [])]
    return inputs, {name: example[name] for name in names}


def shapes(
    dataset: Dataset,
    training: bool,
    targets: bool,
    max_instances: int | None,
    max_proposals: int | None,
) -> Any:
    """Returns the shape of each part of an `entry`, with None where the batch decides.

    Args:
        dataset, training, targets, max_instances: as in `data.batches`.
        max_proposals: int P, or None if there are no proposals.
    """
    inputs = {
        "images": [None, None, Reading.of(dataset).channels],
        "sizes": [2],
        "original_sizes": [2],
    }
    if max_proposals is not None:
        inputs["proposals"] = [max_proposals, 4]
    if training:
        inputs["indices"] = []
    if not targets:
        return inputs
    slots = {"boxes": [4], "labels": []}
    if has_masks(dataset):
        slots["masks"] = [dataset.mask_size] * 2
    targets_of_image = {name: [max_instances, *rest] for name, rest in slots.items()}
    if has_ignored(dataset):
        targets_of_image["ignored"] = [None, 4]
    return inputs, targets_of_image


def pad(
    canvases: np.ndarray,
    padding_multiple: int,
    fill_slots: bool,
    inputs: Tensors,
    targets: Tensors | None = None,
) -> Any:
    """Pads the images of a batch to a canvas or to a multiple, and its annotations to more slots.

    Args:
        canvases: (K, 2) int, see `ascending`; K may be 0.
        padding_multiple: int. Without canvases, sides become multiples of it.
        fill_slots: whether to pad annotations, see `pad_slots`.
        inputs, targets: a batch, already padded to its largest image and its most instances. Its
            images are uint8 or float32.

    Returns:
        inputs, or (inputs, targets), padded.
    """
    images = inputs["images"]
    if len(canvases):
        images = _pad_to_canvas(images, canvases)
    else:
        images = image_ops.pad_to_multiple(images, padding_multiple)
    inputs = {**inputs, "images": tf.cast(images, tf.float32)}
    if targets is None:
        return inputs
    targets = dict(targets)
    ignored = targets.pop("ignored", None)
    targets = pad_slots(targets) if fill_slots else targets
    return inputs, targets if ignored is None else targets | pad_slots({"ignored": ignored})


def pad_slots(targets: Tensors) -> Tensors:
    """Pads targets of equally many slots to the first of 8, 16, 32, ... that is enough."""
    count = tf.shape(next(iter(targets.values())))[1]
    choices = tf.constant([8 << k for k in range(20)])
    missing = tf.reduce_min(tf.boolean_mask(choices, choices >= count)) - count

    def fill(values):
        around = [[0, 0], [0, missing]] + [[0, 0]] * (values.shape.rank - 2)
        return tf.pad(values, tf.convert_to_tensor(around))

    return {name: fill(values) for name, values in targets.items()}


def ascending(canvases: Iterable[Size]) -> np.ndarray:
    """Returns the canvases (height, width), smallest area first, as (K, 2) int."""
    return np.array(sorted(canvases, key=np.prod), int).reshape(-1, 2)


def canvas_of_each(
    dataset: Dataset, canvases: np.ndarray, min_side: int, max_side: int, resize_rule: str
) -> np.ndarray:
    """Returns the index of the canvas that each image needs without augmentation, (I,) int.

    Raises:
        DataError: if an image fits on no canvas.
    """
    heights, widths = np.array(dataset.sizes).T
    resized = image_ops.resized_size(heights, widths, min_side, max_side, resize_rule)
    return np.array(
        [
            _smallest_canvas(size, canvases, name)
            for size, name in zip(np.stack(resized, axis=1), dataset.file_names, strict=True)
        ]
    )


def _pad_to_canvas(images, canvases):
    """Pads to the first of `canvases`, (K, 2) in ascending order, that holds the images."""
    shape = tf.shape(images)
    fits = tf.reduce_all(tf.constant(canvases, tf.int32) >= shape[1:3], axis=1)
    # The error is that of `_smallest_canvas`; `origin.data_error` finds its line.
    line = _no_canvas("the images of a batch", "[{}, {}]", canvases)
    line = tf.strings.format(f"DataError: {line}", (shape[1], shape[2]))
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_any(fits), [line])]):
        height, width = tf.unstack(tf.constant(canvases, tf.int32)[tf.argmax(fits)], 2)
    around = [[0, 0], [0, height - shape[1]], [0, width - shape[2]], [0, 0]]
    sides = canvases[0].tolist() if len(canvases) == 1 else [None, None]
    padded = tf.pad(images, tf.convert_to_tensor(around))
    return tf.ensure_shape(padded, [images.shape[0], *sides, images.shape[-1]])


def _smallest_canvas(size, canvases, name):
    fits = (canvases >= size).all(axis=1)
    if not fits.any():
        raise DataError(_no_canvas(name, size.tolist(), canvases))
    return int(fits.argmax())


def _no_canvas(name, size, canvases):
    """Returns the line for images that fit on no canvas."""
    return (
        f"{name}: resized to {size} (height, width), which fits on no canvas."
        f" Received: canvases={canvases.tolist()}."
    )
