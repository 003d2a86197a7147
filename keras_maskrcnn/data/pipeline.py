"""Turns examples into batches: load, augment, resize, flip, pad; alone knows what a batch is.

    x = images (B, H, W, 3) float32 RGB 0..255, zero-padded right and bottom
        sizes (B, 2) int32, height and width of each image in `images`
        original_sizes (B, 2) int32, height and width of each image before it was resized
        proposals (B, P, 4) float32 as boxes, by falling score, 0 = padding; only if given
        indices (B,) int32, the place of each image in the data set; only in training
    y = boxes (B, G, 4) float32 [x1, y1, x2, y2] in pixels of `images`
        labels (B, G) int32 in 1..C, 0 = padding
        masks (B, G, M, M) uint8, the covered share of each cell of the box times 255; not of a data
            set that was read with masks=False

M and P are static, and B too in training; H, W and G are those that the batch needs, rounded up to
few values, unless `canvases` and `max_instances` fix them.
"""

import functools
import re

import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn.data import augment as augment_ops
from keras_maskrcnn.data import order
from keras_maskrcnn.data.coco import require_instances
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.proposals import check_images
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.ops.python import numpy_function

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


def batches(
    dataset,
    batch_size,
    *,
    training,
    min_side=800,
    max_side=1333,
    max_instances=None,
    flip=None,
    augment=(),
    copy_paste=None,
    targets=True,
    seed=0,
    repeat=False,
    shuffle=None,
    first_step=0,
    group_shapes=None,
    canvases=(),
    padding_multiple=32,
    resize_rule="detectron2",
    proposals=None,
    max_proposals=1000,
    cache=False,
    on_error="raise",
) -> tf.data.Dataset:
    """Batches a data set for `fit`, `evaluate` or `predict`; the module says what a batch is.

    The same seed gives the same batches in every run, whatever the global seeds are; order, flips
    and augmentations differ between epochs.

    Args:
        dataset: `CocoDataset`, or anything with its `__len__`, `load`, `load_image`, `mask_size`,
            `sizes`, `file_names`, `max_instances` and `num_instances`; `has_masks` is true without.
        batch_size: int B, of all replicas together.
        training: whether to shuffle, flip, and leave out a last batch of fewer than B images.
        min_side, max_side: int. Shorter side after resizing; limit of the longer side (§3.1). In
            training `min_side` may be a sequence, of which each image draws one.
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
        padding_multiple: int. Without canvases, sides of the padded images are multiples of it.
        resize_rule: "detectron2" or "torchvision", as in `ops.images.resize`.
        proposals: `ProposalFile`, or a dict of image id to (boxes, scores) by falling score, in
            pixels of the original images: what x holds as `proposals`.
        max_proposals: int P. The best are taken, of those that have an area inside the image.
        cache: whether decoded images and masks stay in memory once they were read.
        on_error: what becomes of an image that cannot be read: "raise", or with targets "skip": the
            next image of the data set takes its place; each is logged, counted and named in
            `dataset.skipped`.

    Raises:
        DataError: if there is not one full batch to train on, or with targets not one instance, an
            image has no proposals, or one fits on no canvas.
    """
    flip = training if flip is None else flip
    shuffle = training if shuffle is None else shuffle
    group_shapes = shuffle if group_shapes is None else group_shapes
    sides = np.ravel(min_side).tolist()
    check_positive(
        batch_size=batch_size,
        min_side=min(sides, default=0),
        max_side=max_side,
        max_instances=1 if max_instances is None else max_instances,
        max_proposals=max_proposals,
    )
    if seed < 0:
        raise ValueError(f"seed must be at least 0. Received: seed={seed}.")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip'. Received: on_error={on_error!r}.")
    if not training:
        _refuse_outside_training(
            shuffle=shuffle,
            augment=augment,
            copy_paste=copy_paste,
            min_side=len(sides) > 1 and min_side,
            first_step=first_step,
        )
        if on_error == "skip" and not targets:  # predictions belong to images
            raise ValueError(
                "on_error='skip' needs training=True or targets=True. Received: targets=False."
            )
    if first_step and not repeat:
        raise ValueError(f"first_step needs repeat=True. Received: first_step={first_step}.")
    if training and not repeat and len(dataset) < batch_size:
        raise DataError(
            f"{len(dataset)} images do not fill one batch for training."
            f" Received: batch_size={batch_size}."
        )
    if targets:
        require_instances(dataset)
    if targets and max_instances is not None:
        _report_limit(dataset, max_instances)
    if copy_paste is not None and not getattr(dataset, "has_masks", True):
        raise ValueError("copy_paste needs masks. Received: a data set read with masks=False.")
    if proposals is not None:
        check_images(proposals, dataset.image_ids)
    canvases = np.array(sorted(canvases, key=np.prod), int).reshape(-1, 2)
    read = _reader(dataset, targets, proposals, cache, on_error)

    def augmented(index, seed):
        example = read(index)
        place = example.pop("index")
        return place, augment_ops.apply(example, seed, augment)

    def prepare(index, seed):
        seeds = tf.unstack(tf.random.split(seed, 7))
        place, example = augmented(index, seeds[0])
        if copy_paste is not None:
            other = tf.random.stateless_uniform([], seeds[1], 0, len(dataset), tf.int64)
            example = copy_paste(example, augmented(other, seeds[2])[1], seeds[3])
        if targets and max_instances is not None:
            if training:
                example = augment_ops.at_most(example, max_instances, seeds[4])
            slots = augment_ops.instances(example)
            example |= {name: example[name][:max_instances] for name in slots}
        side = augment_ops.random_side(seeds[5], sides) if len(sides) > 1 else sides[0]
        example = _resize(example, side, max_side, resize_rule)
        if proposals is not None:
            example["proposals"] = _keep_inside(example)[:max_proposals]
        if flip:
            example = augment_ops.random_flip(example, seeds[6])
        inputs = _inputs(example)
        if training:
            inputs["indices"] = place
        if not targets:
            return inputs
        return inputs, {name: example[name] for name in augment_ops.instances(example)}

    def pad(inputs, *rest):
        images = inputs["images"]
        if len(canvases):
            images = _pad_to_canvas(images, canvases)
        else:
            images = image_ops.pad_to_multiple(images, padding_multiple)
        inputs = {**inputs, "images": images}
        if not rest:
            return inputs
        return inputs, _pad_slots(rest[0]) if max_instances is None else rest[0]

    if training:
        groups = np.zeros(len(dataset), int)
        if len(canvases):
            groups = _canvas_of_each(dataset, max(sides), max_side, resize_rule, canvases)
        elif group_shapes:
            groups = order.aspect_groups(dataset.sizes)
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
        positions = tf.data.Dataset.range(len(dataset)).map(lambda i: (i, tf.zeros([2], tf.int32)))
        positions = positions.repeat() if repeat else positions
    examples = positions.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    shapes = {"images": [None, None, 3], "sizes": [2], "original_sizes": [2]}
    if proposals is not None:
        shapes["proposals"] = [max_proposals, 4]
    if training:
        shapes["indices"] = []
    if targets:
        slots = {"boxes": [4], "labels": []}
        if getattr(dataset, "has_masks", True):
            slots["masks"] = [dataset.mask_size] * 2
        shapes = shapes, {name: [max_instances, *rest] for name, rest in slots.items()}
    batched = examples.padded_batch(batch_size, shapes, drop_remainder=bool(training))
    padded = batched.map(pad, num_parallel_calls=tf.data.AUTOTUNE)
    number = len(dataset) // batch_size if training else -(-len(dataset) // batch_size)
    number = tf.data.INFINITE_CARDINALITY if repeat else number
    padded = padded.apply(tf.data.experimental.assert_cardinality(number))
    padded = padded.prefetch(tf.data.AUTOTUNE)
    padded.made_with = {
        "min_side": sides if len(sides) > 1 else sides[0],
        "max_side": max_side,
        "resize_rule": resize_rule,
        "padding_multiple": padding_multiple,
        "canvases": len(canvases) > 0,
        "rescales": not all(map(_keeps_size, augment)),
    }
    return padded


def made_with(dataset):
    """Finds what `batches` was called with, also behind `take`, `map` and the like.

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
        inputs = dataset._inputs()  # private; the public graph has the same, without our attribute
        if len(inputs) != 1:
            break
        untouched &= type(dataset).__name__.strip("_").removesuffix("Dataset") in _KEEPING
        dataset = inputs[0]
    return None, False


def _keeps_size(augmentation):
    """Whether an augmentation is known to leave an image's shorter and longer side."""
    function = getattr(augmentation, "func", augmentation)
    return function in (
        augment_ops.random_flip,
        augment_ops.random_rotate90,
        augment_ops.color_jitter,
    )


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


def _reader(dataset, targets, proposals, cache, on_error):
    """Makes the function that loads an example inside the graph.

    Returns:
        index () int64 -> dict of `image` (H, W, 3) uint8 and `index` () int32, another one if the
        image was skipped; with targets `boxes` (n, 4), `labels` (n,) and, if the data set has any,
        `masks` (n, M, M); with proposals `proposals` (p, 4) float32.
    """
    load = dataset.load if targets else lambda i: {"image": dataset.load_image(i)}
    load = functools.cache(load) if cache else load
    dtypes = {"image": tf.uint8, "index": tf.int32}
    shapes = {"image": [None, None, 3], "index": []}
    if targets:
        dtypes |= {"boxes": tf.float32, "labels": tf.int32}
        shapes |= {"boxes": [None, 4], "labels": [None]}
        if getattr(dataset, "has_masks", True):
            dtypes["masks"], shapes["masks"] = tf.uint8, [None, *[dataset.mask_size] * 2]
    if proposals is not None:
        dtypes["proposals"], shapes["proposals"] = tf.float32, [None, 4]

    def read(index):
        index, example = _load_or_next(dataset, load, int(index), on_error)
        example = {**example, "index": np.int32(index)}
        if proposals is not None:
            boxes, _ = proposals.get(dataset.image_ids[index])
            example = {**example, "proposals": np.asarray(boxes, np.float32)}
        return [example[name] for name in dtypes]

    def read_in_graph(index):
        values = numpy_function(read, [index], list(dtypes.values()), stateful=False)
        return {
            name: tf.ensure_shape(value, shapes[name])
            for name, value in zip(dtypes, values, strict=True)
        }

    return read_in_graph


def _load_or_next(dataset, load, index, on_error):
    """Loads an image, or with "skip" the first after it that can be read, and says which."""
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
                logging.warning("skipped, image %d of such: %s", len(skipped), error)
    raise DataError(f"{dataset.images}: none of {len(dataset)} images can be read.")


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
    for name in augment_ops.BOXES & example.keys():
        resized[name] = example[name] * tf.gather(scale, [1, 0, 1, 0])
    return resized


def _inputs(example):
    size = tf.shape(example["image"])[:2]
    original_size = example["original_size"]
    inputs = {"images": example["image"], "sizes": size, "original_sizes": original_size}
    if "proposals" in example:
        inputs["proposals"] = example["proposals"]
    return inputs


def _pad_slots(targets):
    """Pads all targets to 8, 16, 32, ... slots, the first that is enough."""
    count = tf.shape(targets["labels"])[1]
    choices = tf.constant([8 << k for k in range(20)])
    missing = tf.reduce_min(tf.boolean_mask(choices, choices >= count)) - count

    def pad(values):
        around = [[0, 0], [0, missing]] + [[0, 0]] * (values.shape.rank - 2)
        return tf.pad(values, tf.convert_to_tensor(around))

    return {name: pad(values) for name, values in targets.items()}


def _pad_to_canvas(images, canvases):
    """Pads to the smallest of the canvases (K, 2), in ascending order, that holds the images."""

    def choose(size):
        return canvases[_smallest_canvas(size, canvases, "the images of a batch")].astype(np.int32)

    shape = tf.shape(images)
    height, width = tf.unstack(numpy_function(choose, [shape[1:3]], tf.int32, stateful=False), 2)
    around = [[0, 0], [0, height - shape[1]], [0, width - shape[2]], [0, 0]]
    sides = canvases[0].tolist() if len(canvases) == 1 else [None, None]
    padded = tf.pad(images, tf.convert_to_tensor(around))
    return tf.ensure_shape(padded, [images.shape[0], *sides, 3])


def _canvas_of_each(dataset, min_side, max_side, rule, canvases):
    """(I,) int. The canvas that each image needs when it is not augmented."""
    heights, widths = np.array(dataset.sizes).T
    sizes = np.stack(image_ops.resized_size(heights, widths, min_side, max_side, rule), axis=1)
    return np.array(
        [
            _smallest_canvas(size, canvases, name)
            for size, name in zip(sizes, dataset.file_names, strict=True)
        ]
    )


def _smallest_canvas(size, canvases, name):
    fits = (canvases >= size).all(axis=1)
    if not fits.any():
        raise DataError(
            f"{name}: resized to {size.tolist()} (height, width), which fits on no canvas."
            f" Received: canvases={canvases.tolist()}."
        )
    return int(fits.argmax())


def check_positive(**counts):
    """Raises ValueError for the first of some numbers, by name, that is not at least 1."""
    for name, count in counts.items():
        if not count >= 1:  # nor NaN
            raise ValueError(f"{name} must be positive. Received: {name}={count!r}.")


def _refuse_outside_training(**arguments):
    for name, value in arguments.items():
        if value:
            raise ValueError(f"{name} needs training=True. Received: {name}={value}.")


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
