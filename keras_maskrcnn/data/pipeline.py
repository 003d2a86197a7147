"""Turns examples into batches: load, resize, flip, pad. The only file that knows the contract.

    x = images (B, H, W, 3) float32 RGB 0..255, zero-padded right and bottom
        sizes (B, 2) int32, height and width of each image in `images`
        original_sizes (B, 2) int32, height and width of each image in its file
        proposals (B, P, 4) float32 as boxes, by falling score, 0 = padding; only if given
    y = boxes (B, G, 4) float32 [x1, y1, x2, y2] in pixels of `images`
        labels (B, G) int32 in 1..C, 0 = padding
        masks (B, G, M, M) uint8, the covered share of each cell of the box times 255

G, M and P are static, and B too in training; H and W are those of the largest image of the batch.
"""

import re

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn.data.images import DataError
from keras_maskrcnn.data.proposals import check_images
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops

BOXES = {"boxes", "proposals"}  # what is scaled and flipped with the image


def batches(
    dataset,
    batch_size,
    *,
    training,
    min_side=800,
    max_side=1333,
    max_instances=None,
    flip=None,
    targets=True,
    seed=0,
    repeat=False,
    shuffle=None,
    padding_multiple=32,
    resize_rule="detectron2",
    proposals=None,
    max_proposals=1000,
) -> tf.data.Dataset:
    """Batches a data set for `fit`, `evaluate` or `predict`; the module says what a batch is.

    The same seed gives the same batches in every run; order and flips differ between epochs.

    Args:
        dataset: `CocoDataset`, or anything with its `__len__`, `load`, `load_image`, `mask_size`,
            `max_instances` and `num_instances`.
        batch_size: int B.
        training: whether to shuffle, flip, and leave out a last batch of fewer than B images.
        min_side, max_side: int. Shorter side after resizing; limit of the longer side (§3.1).
        max_instances: int G, by default the data set's. Of an image with more, G random ones are
            taken in training, otherwise the first G; how many are lost is logged once.
        flip: whether to mirror half of the images; by default as `training`.
        targets: whether to yield (x, y); otherwise x alone, and no annotation is read.
        seed: int.
        repeat: whether to go on forever, for training that counts steps.
        shuffle: whether to draw a new order each epoch; by default as `training`.
        padding_multiple: int. Sides of the padded images are multiples of it.
        resize_rule: "detectron2" or "torchvision", as in `ops.images.resize`.
        proposals: `ProposalFile`, or a dict of image id to (boxes, scores) by falling score, in
            pixels of the original images: what x holds as `proposals`.
        max_proposals: int P. The best are taken, of those that have an area inside the image.

    Raises:
        DataError: if there is not one full batch to train on, or an image has no proposals.
    """
    flip = training if flip is None else flip
    shuffle = training if shuffle is None else shuffle
    limit = dataset.max_instances if max_instances is None else max_instances
    counts = {"batch_size": batch_size, "min_side": min_side, "max_side": max_side}
    counts |= {"max_instances": limit, "max_proposals": max_proposals}
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} must be positive. Received: {name}={count}.")
    if training and not repeat and len(dataset) < batch_size:
        raise DataError(
            f"{len(dataset)} images do not fill one batch for training."
            f" Received: batch_size={batch_size}."
        )
    if targets:
        _report_limit(dataset, limit)
    if proposals is not None:
        check_images(proposals, dataset.image_ids)

    def load(index, draw):
        if targets:
            example = _load_example(dataset, index, draw if training else None, limit)
        else:
            example = {"image": _load_image(dataset, index)}
        if proposals is not None:
            example["proposals"] = _load_proposals(dataset, proposals, index)
        example = _resize(example, min_side, max_side, resize_rule)
        if proposals is not None:
            example["proposals"] = _keep_inside(example)[:max_proposals]
        if flip:
            example = tf.cond(draw % 2 == 1, lambda: flip_horizontal(example), lambda: example)
        return _inputs_and_targets(example) if targets else _inputs(example)

    def pad(inputs, *rest):
        images = image_ops.pad_to_multiple(inputs["images"], padding_multiple)
        inputs = {**inputs, "images": images}
        return (inputs, *rest) if rest else inputs

    indices = tf.data.Dataset.range(len(dataset))
    if shuffle:
        indices = indices.shuffle(len(dataset), seed=seed, reshuffle_each_iteration=True)
    if repeat:
        indices = indices.repeat()
    draws = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    examples = tf.data.Dataset.zip(indices, draws).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    shapes = {"images": [None, None, 3], "sizes": [2], "original_sizes": [2]}
    if proposals is not None:
        shapes["proposals"] = [max_proposals, 4]
    if targets:
        crop = [dataset.mask_size, dataset.mask_size]
        shapes = shapes, {"boxes": [limit, 4], "labels": [limit], "masks": [limit, *crop]}
    batched = examples.padded_batch(batch_size, shapes, drop_remainder=bool(training))
    padded = batched.map(pad, num_parallel_calls=tf.data.AUTOTUNE)
    return padded.prefetch(tf.data.AUTOTUNE)


def flip_horizontal(example):
    """Mirrors an example left to right; twice is the identity.

    Args:
        example: dict of tensors with `image` (H, W, 3), not yet padded, and maybe `boxes` (n, 4),
            `masks` (n, M, M) and `proposals` (p, 4); other entries stay as they are.
    """
    flipped = {**example, "image": example["image"][:, ::-1]}
    width = tf.cast(tf.shape(example["image"])[1], tf.float32)
    for name in BOXES & example.keys():
        x1, y1, x2, y2 = tf.unstack(example[name], axis=-1)
        flipped[name] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    if "masks" in example:
        flipped["masks"] = example["masks"][..., ::-1]
    return flipped


def data_error(exception) -> str | None:
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


def _load_image(dataset, index):
    """Loads one image inside the graph: (H, W, 3) uint8."""
    image = tf.numpy_function(dataset.load_image, [index], tf.uint8, stateful=False)
    return tf.ensure_shape(image, [None, None, 3])


def _load_example(dataset, index, draw, limit):
    """Loads one example inside the graph, with at most `limit` instances: random, or the first."""

    def load(index, *draw):
        example = dataset.load(index)
        labels = example["labels"]
        if len(labels) > limit:
            order = np.random.default_rng(*draw).permutation(len(labels)) if draw else None
            kept = np.arange(limit) if order is None else np.sort(order[:limit])
            example = {"image": example["image"]} | {
                name: example[name][kept] for name in ("boxes", "labels", "masks")
            }
        return example["image"], example["boxes"], example["labels"], example["masks"]

    arguments = [index] if draw is None else [index, draw]
    dtypes = [tf.uint8, tf.float32, tf.int32, tf.uint8]
    image, boxes, labels, masks = tf.numpy_function(load, arguments, dtypes, stateful=False)
    return {
        "image": tf.ensure_shape(image, [None, None, 3]),
        "boxes": tf.ensure_shape(boxes, [None, 4]),
        "labels": tf.ensure_shape(labels, [None]),
        "masks": tf.ensure_shape(masks, [None, dataset.mask_size, dataset.mask_size]),
    }


def _load_proposals(dataset, proposals, index):
    """Loads the proposals of one image inside the graph: (p, 4) float32, by falling score."""

    def load(index):
        boxes, _ = proposals.get(dataset.image_ids[index])
        return np.asarray(boxes, np.float32)

    boxes = tf.numpy_function(load, [index], tf.float32, stateful=False)
    return tf.ensure_shape(boxes, [None, 4])


def _keep_inside(example):
    """Clips the proposals to the image, and leaves out those without an area inside."""
    size = tf.shape(example["image"])[:2]
    boxes = box_ops.clip(example["proposals"][None], size[None])[0]
    return tf.boolean_mask(boxes, box_ops.shorter_side(boxes) > 0)


def _resize(example, min_side, max_side, rule):
    """Resizes the image and scales all boxes; masks lie in their boxes and stay as they are."""
    original_size = tf.shape(example["image"])[:2]
    image = image_ops.resize(example["image"], min_side, max_side, rule)
    resized = {**example, "image": image, "original_size": original_size}
    scale = tf.cast(tf.shape(image)[:2], tf.float32) / tf.cast(original_size, tf.float32)
    for name in BOXES & example.keys():
        resized[name] = example[name] * tf.gather(scale, [1, 0, 1, 0])
    return resized


def _inputs(example):
    size = tf.shape(example["image"])[:2]
    original_size = example["original_size"]
    inputs = {"images": example["image"], "sizes": size, "original_sizes": original_size}
    if "proposals" in example:
        inputs["proposals"] = example["proposals"]
    return inputs


def _inputs_and_targets(example):
    return _inputs(example), {name: example[name] for name in ("boxes", "labels", "masks")}


def _report_limit(dataset, limit):
    """Logs how many instances have no slot."""
    excess = np.maximum(np.asarray(dataset.num_instances) - limit, 0)
    if excess.any():
        logging.warning(
            "max_instances=%d leaves out %d instances of %d images in each epoch.",
            limit,
            excess.sum(),
            np.count_nonzero(excess),
        )
