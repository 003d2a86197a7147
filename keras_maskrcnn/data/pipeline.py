"""Turns a data set into batches: checks, order, preparation, padding."""

import reprlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.data import batching, graph_reader, order, origin
from keras_maskrcnn.data.assembly import Assembly
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.coco import has_masks, require_data_set, require_instances
from keras_maskrcnn.data.ending import end_iterators_at_exit
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.preparing import Preparation
from keras_maskrcnn.data.proposals import check_images
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import Augmentation, Dataset, OnError, Proposals, Size, Tensors

__getattr__ = moved(
    __name__,
    {
        "data_error": "keras_maskrcnn.data.origin:data_error",
        "made_with": "keras_maskrcnn.data.origin:made_with",
    },
)


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    training: bool,
    min_side: int | Sequence[int] | None = None,
    max_side: int | None = None,
    resize_rule: str | None = None,
    padding_multiple: int | None = None,
    max_instances: int | None = None,
    flip: bool | None = None,
    augment: Sequence[Augmentation] = (),
    copy_paste: Callable[[Tensors, Tensors, tf.Tensor], Tensors] | None = None,
    targets: bool = True,
    seed: int = 0,
    repeat: bool = False,
    shuffle: bool | None = None,
    first_step: int = 0,
    steps: int | None = None,
    group_shapes: bool | None = None,
    canvases: Sequence[Size] = (),
    proposals: Proposals | None = None,
    max_proposals: int | None = None,
    cache: bool = False,
    on_error: OnError = "raise",
) -> tf.data.Dataset:
    """Makes batches of a data set for `fit`, `evaluate` or `predict`.

    The model decides `min_side`, `max_side`, `resize_rule` and `padding_multiple`, so they have no
    default: `data.batches(dataset, 2, training=True, **model.config.resizing())` passes all four.
    The same seed gives the same batches in every run, whatever the global seeds are. Order, flips
    and augmentations differ between epochs. `fit` and `evaluate` of a model on several workers read
    the worker's rows of each batch only; other loops over the batches read all of them.

    Args:
        dataset: `CocoDataset`, or an object with the same `__len__`, `load`, `load_image`,
            `mask_size`, `sizes`, `file_names`, `max_instances` and `num_instances`. Without the
            attribute `has_masks` it must have masks. Without `channels`, `image_dtype` and
            `pixel_max`, its images are 8-bit RGB.
        batch_size: int B, of all replicas together.
        training: whether to shuffle, flip, and leave out a last batch of fewer than B images.
        min_side, max_side: int. Shorter side after resizing, and limit of the longer side (§3.1).
            In training `min_side` may be a sequence: one of its values is drawn for each image.
        resize_rule: "detectron2" or "torchvision", as in `ops.images.resize`.
        padding_multiple: int. Without canvases, sides of the padded images are multiples of it.
        max_instances: int G. Every batch has G slots for instances. If an image has more, training
            takes G random ones, and other batches take the first G; the number of lost instances is
            logged once. By default a batch has as many slots as the image with the most instances
            needs, rounded up to 8, 16, 32, ...
        flip: whether to mirror half of the images. By default the value of `training`.
        augment: augmentations of `data.augment`, or other callables (example, seed) -> example.
            They are called in this order, before the image is resized.
        copy_paste: `data.augment.copy_paste`, or another callable (example, other, seed) ->
            example, or None. It is called after `augment`, with a second, random example.
        targets: whether to yield (x, y). If False, only x is yielded and no annotation is read.
        seed: int >= 0.
        repeat: whether to continue without end, for training that counts steps.
        shuffle: whether to draw a new order each epoch. By default the value of `training`.
        first_step: int. Number of batches that an earlier run has trained on; needs `repeat` or
            `steps`.
        steps: int. Instead of `repeat`: the number of batches at which training ends, with those
            of earlier runs. Their order is drawn now, and is that of `repeat`. Then no Python
            function draws it: see docs/data_service.md.
        group_shapes: whether the images of a batch have similar aspect ratios, or the same canvas,
            so that there is little padding. By default the value of `shuffle`.
        canvases: (height, width) pairs. If given, every batch has one of these sizes: the smallest
            that holds all its images.
        proposals: `ProposalFile`, or a dict of image id to (boxes, scores), highest score first, in
            pixels of the original images. x holds them as `proposals`.
        max_proposals: int P, required with proposals: pass `config.train_proposals` of the model,
            or `config.test_proposals` for batches to predict from. The P best proposals that have
            an area inside the image are taken.
        cache: whether to keep decoded images and masks in memory after they are first read.
        on_error: what to do if an image cannot be read. "raise" raises the error. "skip", which
            needs targets or training, takes the next image of the data set instead, logs the error,
            and counts it in `dataset.skipped`.

    Returns:
        tf.data.Dataset of (x, y), or of x alone: dicts of tensors with a first axis of B. Outside
            training the last batch may have fewer images. `MaskRCNN` lists names, shapes and
            units.

    Raises:
        TypeError: if an argument that the model decides is missing.
        ValueError: if an argument is out of range, or needs another one that is missing.
        DataError: if there are too few images for one training batch, or no instance (with
            targets). Also if an image has no proposals or fits on no canvas.
    """
    require_data_set(dataset, "load", "load_image", "file_names")
    _check_augment(augment)
    resizing = _resizing(min_side, max_side, resize_rule, padding_multiple)
    flip = training if flip is None else flip
    shuffle = training if shuffle is None else shuffle
    group_shapes = shuffle if group_shapes is None else group_shapes
    sides = np.ravel(resizing["min_side"]).tolist()
    _check_counts(batch_size, sides, max_side, max_instances, max_proposals)
    _check_modes(training, targets, seed, repeat, first_step, steps, on_error)
    if not training:
        _refuse_outside_training(
            shuffle=shuffle,
            augment=augment,
            copy_paste=copy_paste,
            min_side=len(sides) > 1 and min_side,
            first_step=first_step,
            steps=steps,
        )
    fewest = batch_size if training and not repeat and steps is None else 0
    _check_dataset(dataset, fewest, targets, max_instances)
    _check_entries(dataset, copy_paste, proposals, max_proposals)
    canvases, reading = batching.ascending(canvases), Reading.of(dataset)
    groups = None
    if training:
        groups = _groups(dataset, canvases, group_shapes, max(sides), max_side, resize_rule)
    preparation = Preparation(
        read=graph_reader.reader(dataset, targets, proposals, cache, on_error),
        count=len(dataset),
        training=training,
        targets=targets,
        sides=sides,
        max_side=resizing["max_side"],
        resize_rule=resizing["resize_rule"],
        max_instances=max_instances,
        max_proposals=max_proposals,
        augmentations=augment,
        copy_paste=copy_paste,
        flip=flip,
        whole=image_ops.are_whole(reading.image_dtype, reading.pixel_max),
    )
    most = None if proposals is None else max_proposals
    assembly = Assembly(
        preparation,
        batch_size,
        groups=groups,
        shapes=batching.shapes(dataset, training, targets, max_instances, most),
        canvases=canvases,
        padding_multiple=resizing["padding_multiple"],
        seed=seed,
        shuffle=shuffle,
        repeat=repeat,
        first_step=first_step,
        steps=steps,
    )
    padded = assembly.batches()
    origin.note(padded, resizing, canvases, augment, assembly)
    end_iterators_at_exit()
    return padded


def _check_augment(augment):
    """Raises TypeError now, because the graph would fail later with a less clear message."""
    if isinstance(augment, str) or not all(map(callable, augment)):
        raise TypeError(
            "augment must be a sequence of functions, such as data.augment.random_rotate90."
            f" Received: augment={reprlib.repr(augment)}."
        )


def _groups(dataset, canvases, by_shape, min_side, max_side, resize_rule):
    """Returns a group per image, (I,) int; a batch has images of one canvas or similar shape."""
    if len(canvases):
        return batching.canvas_of_each(dataset, canvases, min_side, max_side, resize_rule)
    if by_shape:
        return order.aspect_groups(dataset.sizes)
    return np.zeros(len(dataset), int)


def _resizing(*values):
    """Returns a dict of the model's resizing; raises TypeError if an argument is missing."""
    names = ("min_side", "max_side", "resize_rule", "padding_multiple")
    resizing = dict(zip(names, values, strict=True))
    missing = [f"{name}=None" for name, value in resizing.items() if value is None]
    if missing:
        raise TypeError(
            "batches need the model's min_side, max_side, resize_rule and padding_multiple:"
            f" pass **model.config.resizing(). Received: {', '.join(missing)}."
        )
    return resizing


def _check_counts(batch_size, sides, max_side, max_instances, max_proposals):
    check_positive(
        batch_size=batch_size,
        min_side=min(sides, default=0),
        max_side=max_side,
        max_instances=1 if max_instances is None else max_instances,
        max_proposals=1 if max_proposals is None else max_proposals,
    )


def check_positive(**counts: int) -> None:
    """Raises ValueError for the first of these numbers that is not at least 1."""
    for name, count in counts.items():
        if not count >= 1:  # refuses NaN too
            raise ValueError(f"{name} must be positive. Received: {name}={count!r}.")


def _check_modes(training, targets, seed, repeat, first_step, steps, on_error):
    if seed < 0:
        raise ValueError(f"seed must be at least 0. Received: seed={seed}.")
    check_on_error(on_error)
    # To predict, each image must give one result: no other image may replace it.
    if on_error == "skip" and not training and not targets:
        raise ValueError(
            "on_error='skip' needs training=True or targets=True. Received: targets=False."
        )
    if training and first_step and not repeat and steps is None:
        raise ValueError(f"first_step needs repeat=True. Received: first_step={first_step}.")
    if steps is not None and (repeat or steps <= first_step):
        raise ValueError(
            "steps must be above first_step, and without repeat=True."
            f" Received: steps={steps}, first_step={first_step}, repeat={repeat}."
        )


def _refuse_outside_training(**arguments):
    for name, value in arguments.items():
        if value:
            raise ValueError(f"{name} needs training=True. Received: {name}={value}.")


def _check_dataset(dataset, fewest, targets, max_instances):
    """Checks the numbers of images and instances; logs how many instances have no slot."""
    if len(dataset) < fewest:
        raise DataError(
            f"{len(dataset)} images do not fill one batch for training."
            f" Received: batch_size={fewest}."
        )
    if targets:
        require_instances(dataset)
    if targets and max_instances is not None:
        excess = np.maximum(np.asarray(dataset.num_instances) - max_instances, 0)
        if excess.any():
            logging.warning(
                "max_instances=%d leaves out %d instances of %d images in each epoch.",
                max_instances,
                excess.sum(),
                np.count_nonzero(excess),
            )


def _check_entries(dataset, copy_paste, proposals, max_proposals):
    """Checks that copy_paste has masks and that every image has proposals."""
    if copy_paste is not None and not has_masks(dataset):
        raise ValueError("copy_paste needs masks. Received: a data set read with masks=False.")
    if proposals is not None and max_proposals is None:
        raise TypeError(
            "proposals need the model's max_proposals: pass"
            " max_proposals=model.config.train_proposals, or test_proposals to predict."
            " Received: max_proposals=None."
        )
    if proposals is not None:
        check_images(proposals, dataset.image_ids)
