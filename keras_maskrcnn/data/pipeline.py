"""From a data set to its batches: checks, order, preparation, padding."""

import functools
import reprlib
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.data import batching, graph_reader, order, origin
from keras_maskrcnn.data.coco import has_masks, require_instances
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.preparing import Preparation
from keras_maskrcnn.data.proposals import check_images
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
    group_shapes: bool | None = None,
    canvases: Sequence[Size] = (),
    proposals: Proposals | None = None,
    max_proposals: int | None = None,
    cache: bool = False,
    on_error: OnError = "raise",
) -> tf.data.Dataset:
    """Batches a data set for `fit`, `evaluate` or `predict`; `data.batching` says what a batch is.

    `min_side`, `max_side`, `resize_rule` and `padding_multiple` belong to the model and have no
    default: `data.batches(dataset, 2, training=True, **model.config.resizing())` passes them all.
    The same seed gives the same batches in every run, whatever the global seeds are; order, flips
    and augmentations differ between epochs.

    Args:
        dataset: `CocoDataset`, or anything with its `__len__`, `load`, `load_image`, `mask_size`,
            `sizes`, `file_names`, `max_instances` and `num_instances`; `has_masks` is true without.
        batch_size: int B, of all replicas together.
        training: whether to shuffle, flip, and leave out a last batch of fewer than B images.
        min_side, max_side: int. Shorter side after resizing; limit of the longer side (§3.1). In
            training `min_side` may be a sequence, of which each image draws one.
        resize_rule: "detectron2" or "torchvision", as in `ops.images.resize`.
        padding_multiple: int. Without canvases, sides of the padded images are multiples of it.
        max_instances: int G, the slots of every batch. Of an image with more, G random ones are
            taken in training, otherwise the first G; how many are lost is logged once. By default
            a batch has as many as its fullest image needs, rounded up to 8, 16, 32, ...
        flip: whether to mirror half of the images; by default as `training`.
        augment: augmentations of `data.augment`, or other callables (example, seed) -> example,
            called in this order before the image is resized.
        copy_paste: `data.augment.copy_paste`, or another callable (example, other, seed) ->
            example, called with two random examples after `augment`; None for none.
        targets: whether to yield (x, y); otherwise x alone, and no annotation is read.
        seed: int >= 0.
        repeat: whether to go on forever, for training that counts steps.
        shuffle: whether to draw a new order each epoch; by default as `training`.
        first_step: int. Batches that a run before this one has trained on; with `repeat`.
        group_shapes: whether the images of a batch have similar aspect ratios, or the same canvas,
            so that there is little padding; by default as `shuffle`.
        canvases: (height, width) pairs. If given, batches have these sizes only: the smallest that
            holds all images.
        proposals: `ProposalFile`, or a dict of image id to (boxes, scores) by falling score, in
            pixels of the original images: what x holds as `proposals`.
        max_proposals: int P, without a default if there are proposals: the model's
            `config.train_proposals`, or `config.test_proposals` for batches to predict from. The
            best are taken, of those that have an area inside the image.
        cache: whether decoded images and masks stay in memory once they were read.
        on_error: what becomes of an image that cannot be read: "raise", or with targets "skip": the
            next image of the data set takes its place; each is logged, counted and named in
            `dataset.skipped`.

    Returns:
        tf.data.Dataset of (x, y), or of x alone: dicts of tensors with an axis of B, or fewer in a
        last batch outside training. Their names, shapes and units are in `data.batching`.

    Raises:
        TypeError: if what belongs to the model is not passed.
        DataError: if there is not one full batch to train on, or with targets not one instance, an
            image has no proposals, or one fits on no canvas.
    """
    _check_kinds(dataset, augment)
    resizing = _resizing(min_side, max_side, resize_rule, padding_multiple)
    flip = training if flip is None else flip
    shuffle = training if shuffle is None else shuffle
    group_shapes = shuffle if group_shapes is None else group_shapes
    sides = np.ravel(resizing["min_side"]).tolist()
    _check_counts(batch_size, sides, max_side, max_instances, max_proposals)
    _check_modes(training, targets, seed, repeat, first_step, on_error)
    if not training:
        _refuse_outside_training(
            shuffle=shuffle,
            augment=augment,
            copy_paste=copy_paste,
            min_side=len(sides) > 1 and min_side,
            first_step=first_step,
        )
    fewest = batch_size if training and not repeat else 0
    _check_dataset(dataset, fewest, targets, max_instances)
    _check_entries(dataset, copy_paste, proposals, max_proposals)
    canvases = batching.ascending(canvases)
    if training:
        groups = _groups(dataset, canvases, group_shapes, max(sides), max_side, resize_rule)
        positions = order.training_positions(
            len(dataset),
            batch_size,
            groups=groups,
            seed=seed,
            shuffle=shuffle,
            repeat=repeat,
            first_step=first_step,
        )
    else:
        positions = order.positions_in_turn(len(dataset), repeat=repeat)
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
    )
    examples = positions.map(preparation.prepare, num_parallel_calls=tf.data.AUTOTUNE)
    most = None if proposals is None else max_proposals
    shapes = batching.shapes(dataset, training, targets, max_instances, most)
    batched = examples.padded_batch(batch_size, shapes, drop_remainder=bool(training))
    multiple, fill_slots = resizing["padding_multiple"], max_instances is None
    pad = functools.partial(batching.pad, canvases, multiple, fill_slots)
    padded = batched.map(pad, num_parallel_calls=tf.data.AUTOTUNE)
    number = len(dataset) // batch_size if training else -(-len(dataset) // batch_size)
    number = tf.data.INFINITE_CARDINALITY if repeat else number
    padded = padded.apply(tf.data.experimental.assert_cardinality(number))
    padded = padded.prefetch(tf.data.AUTOTUNE)
    origin.note(padded, resizing, canvases, augment)
    return padded


def _check_kinds(dataset, augment):
    """Raises TypeError for what would fail in the graph only, in TensorFlow's words."""
    if not all(hasattr(dataset, name) for name in ("load", "load_image", "file_names")):
        raise TypeError(
            "dataset must be a data set, as data.coco_json and the other readers of data return it."
            f" Received: dataset={reprlib.repr(dataset)}."
        )
    if isinstance(augment, str) or not all(map(callable, augment)):
        raise TypeError(
            "augment must be a sequence of functions, such as data.augment.random_rotate90."
            f" Received: augment={reprlib.repr(augment)}."
        )


def _groups(dataset, canvases, by_shape, min_side, max_side, resize_rule):
    """(I,) int. Which images may share a batch: those of one canvas, or of like shape, or all."""
    if len(canvases):
        return batching.canvas_of_each(dataset, canvases, min_side, max_side, resize_rule)
    if by_shape:
        return order.aspect_groups(dataset.sizes)
    return np.zeros(len(dataset), int)


def _resizing(*values):
    """Returns a dict of how the model resizes; raises TypeError if some of it was not passed."""
    names = ("min_side", "max_side", "resize_rule", "padding_multiple")
    resizing = dict(zip(names, values, strict=True))
    missing = [f"{name}=None" for name, value in resizing.items() if value is None]
    if missing:
        raise TypeError(
            "batches need min_side, max_side, resize_rule and padding_multiple as the model has"
            f" them: pass **model.config.resizing(). Received: {', '.join(missing)}."
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
    """Raises ValueError for the first of some numbers, by name, that is not at least 1."""
    for name, count in counts.items():
        if not count >= 1:  # nor NaN
            raise ValueError(f"{name} must be positive. Received: {name}={count!r}.")


def _check_modes(training, targets, seed, repeat, first_step, on_error):
    if seed < 0:
        raise ValueError(f"seed must be at least 0. Received: seed={seed}.")
    check_on_error(on_error)
    if on_error == "skip" and not training and not targets:  # predictions belong to images
        raise ValueError(
            "on_error='skip' needs training=True or targets=True. Received: targets=False."
        )
    if training and first_step and not repeat:
        raise ValueError(f"first_step needs repeat=True. Received: first_step={first_step}.")


def _refuse_outside_training(**arguments):
    for name, value in arguments.items():
        if value:
            raise ValueError(f"{name} needs training=True. Received: {name}={value}.")


def _check_dataset(dataset, fewest, targets, max_instances):
    """Checks how many images and instances there are; logs how many instances have no slot."""
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
    """Checks that there is what is asked for: masks to paste, proposals of every image."""
    if copy_paste is not None and not has_masks(dataset):
        raise ValueError("copy_paste needs masks. Received: a data set read with masks=False.")
    if proposals is not None and max_proposals is None:
        raise TypeError(
            "proposals need max_proposals as the model has it: pass"
            " max_proposals=model.config.train_proposals, or test_proposals to predict."
            " Received: max_proposals=None."
        )
    if proposals is not None:
        check_images(proposals, dataset.image_ids)
