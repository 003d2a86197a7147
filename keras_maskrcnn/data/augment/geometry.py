"""Geometric augmentations: flip, rotate, crop and scale image, boxes and masks together."""

from collections.abc import Sequence

import tensorflow as tf

from keras_maskrcnn.data.augment.draws import check, uniform
from keras_maskrcnn.data.augment.examples import BOXES, MIN_VISIBLE, join, keep
from keras_maskrcnn.data.augment.tightening import extents, mass, recrop
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import images as image_ops
from keras_maskrcnn.typing import Tensors

FILL = 128
"""Value of pixels outside the image, near the mean of photographs (detectron2's FixedSizeCrop)."""


def random_flip(
    example: Tensors, seed: tf.Tensor, horizontal: float = 0.5, vertical: float = 0.0
) -> Tensors:
    """Mirrors an example left to right, and top to bottom, with these probabilities."""
    draw = uniform(seed, [2])
    example = tf.cond(draw[0] < horizontal, lambda: flip_horizontal(example), lambda: example)
    return tf.cond(draw[1] < vertical, lambda: flip_vertical(example), lambda: example)


def random_rotate90(example: Tensors, seed: tf.Tensor) -> Tensors:
    """Turns an example by 0, 90, 180 or 270 degrees, all equally likely."""
    turns = tf.cast(4 * uniform(seed), tf.int32)
    return tf.switch_case(turns, [lambda k=k: rotate90(example, k) for k in range(4)])


def random_crop(
    example: Tensors,
    seed: tf.Tensor,
    low: float = 0.5,
    high: float = 1.0,
    min_visible: float = MIN_VISIBLE,
) -> Tensors:
    """Crops an example to a random window that holds the center of a random instance's box.

    detectron2's crop with instances does the same. Without instances any window is possible.

    Args:
        example: dict, see `data.augment`.
        seed: (2,) integer.
        low, high: float in (0, 1]. Range of the window's sides as shares of the image's sides,
            drawn for each axis.
        min_visible: as in `crop`. It applies to the chosen instance too.

    Returns:
        The changed example.
    """
    check(0 < low <= high <= 1, "0 < low <= high <= 1", low=low, high=high)
    which, extent, place = tf.unstack(tf.random.split(seed, 3))
    size = tf.cast(_width_height(example["image"]), tf.float32)
    sides = tf.maximum(tf.floor(size * uniform(extent, [2], low, high)), 1.0)
    lowest, highest = tf.zeros([2]), size - sides
    if "boxes" in example:
        count = tf.shape(example["boxes"])[0]
        index = tf.cast(uniform(which) * tf.cast(count, tf.float32), tf.int32)
        box = tf.pad(example["boxes"], [[0, 1], [0, 0]])[index]  # padded, because n may be 0
        center = (box[:2] + box[2:]) / 2
        lowest = tf.where(count > 0, tf.maximum(tf.floor(center - sides) + 1, 0.0), lowest)
        highest = tf.where(count > 0, tf.minimum(tf.floor(center), highest), highest)
    corner = tf.floor(lowest + uniform(place, [2]) * (highest - lowest + 1))
    corner = tf.minimum(corner, highest)
    return crop(example, tf.cast(tf.concat([corner, corner + sides], 0), tf.int32), min_visible)


def large_scale_jitter(
    example: Tensors,
    seed: tf.Tensor,
    size: int,
    low: float = 0.1,
    high: float = 2.0,
    min_visible: float = MIN_VISIBLE,
    fill: int = FILL,
) -> Tensors:
    """Scales an example at random, then crops or pads it to size x size (Simple Copy-Paste, §3).

    Args:
        example: dict, see `data.augment`.
        seed: (2,) integer.
        size: int. Side of the result; 1024 in the paper.
        low, high: float > 0. Range of the scale. At 1 the longer side of the image is `size`.
        min_visible: as in `crop`.
        fill: int in 0..255. Value of the padding.

    Returns:
        The changed example.
    """
    check(0 < low <= high, "0 < low <= high", low=low, high=high)
    draw, place = tf.unstack(tf.random.split(seed))
    scale = uniform(draw, [], low, high)
    return scale_to_canvas(example, size, scale, uniform(place, [2]), min_visible, fill)


def flip_horizontal(example: Tensors) -> Tensors:
    """Mirrors an example left to right. Two calls give the original."""
    width = tf.cast(tf.shape(example["image"])[1], tf.float32)
    flipped = {**example, "image": example["image"][:, ::-1]}
    for name in BOXES & example.keys():
        x1, y1, x2, y2 = tf.unstack(example[name], axis=-1)
        flipped[name] = tf.stack([width - x2, y1, width - x1, y2], axis=-1)
    if "masks" in example:
        flipped["masks"] = example["masks"][..., ::-1]
    return flipped


def flip_vertical(example: Tensors) -> Tensors:
    """Mirrors an example top to bottom. Two calls give the original."""
    height = tf.cast(tf.shape(example["image"])[0], tf.float32)
    flipped = {**example, "image": example["image"][::-1]}
    for name in BOXES & example.keys():
        x1, y1, x2, y2 = tf.unstack(example[name], axis=-1)
        flipped[name] = tf.stack([x1, height - y2, x2, height - y1], axis=-1)
    if "masks" in example:
        flipped["masks"] = example["masks"][:, ::-1]
    return flipped


def rotate90(example: Tensors, turns: int = 1) -> Tensors:
    """Turns an example counterclockwise by `turns` times 90 degrees; `turns` is an int."""
    for _ in range(turns % 4):
        example = flip_vertical(_transpose(example))
    return example


def crop(example: Tensors, window: tf.Tensor, min_visible: float = MIN_VISIBLE) -> Tensors:
    """Crops an example to a window of its image.

    Proposals and ignored regions are clipped too, and may lose their area. Cropping M x M masks is
    nearly as exact as cropping in full resolution. For shapes of 100 to 256 pixels at M = 112, the
    pasted masks of both ways have an IoU of 0.9997; for nuclei it is 1. The limit of M x M cells is
    0.9999: masks that are cropped in full resolution and then sampled in M x M cells reach it.

    Args:
        example: dict, see `data.augment`.
        window: (4,) int32 [x1, y1, x2, y2], not empty, inside the image.
        min_visible: float in [0, 1]. An instance is dropped if a smaller share of its mask is left.

    Returns:
        The example: first the instances that lie wholly inside, then the instances that are cut.
    """
    x1, y1, x2, y2 = tf.unstack(window)
    cropped = {**example, "image": example["image"][y1:y2, x1:x2]}
    limits = tf.cast(window, tf.float32)
    low, high = tf.tile(limits[:2], [2]), tf.tile(limits[2:], [2])
    for name in {"ignored", "proposals"} & example.keys():
        cropped[name] = tf.clip_by_value(example[name], low, high) - low
    if "boxes" not in example:
        return cropped
    clipped = tf.clip_by_value(example["boxes"], low, high)
    whole = tf.reduce_all(clipped == example["boxes"], axis=1)
    partly = ~whole & (box_ops.shorter_side(clipped) > 0)
    cut, frames = keep(example, partly), tf.boolean_mask(clipped, partly)
    if "masks" not in example:
        visible = tf.math.divide_no_nan(box_ops.area(frames), box_ops.area(cut["boxes"]))
        cut = keep({**cut, "boxes": frames}, visible >= min_visible)
        cropped |= join(keep(example, whole), cut)
        return cropped | {"boxes": cropped["boxes"] - low}
    boxes, masks = cut["boxes"], cut["masks"]
    # Sampled again inside the window, because the mask's cells do not end at its border.
    inside = recrop(masks, boxes, frames)
    left = mass(inside) * box_ops.area(frames)
    visible = tf.math.divide_no_nan(left, mass(masks) * box_ops.area(boxes))
    moved = extents(inside, frames)
    cut |= {"boxes": moved, "masks": recrop(masks, boxes, moved)}
    cut = keep(cut, (visible >= min_visible) & (left > 0))
    cropped |= join(keep(example, whole), cut)
    return cropped | {"boxes": cropped["boxes"] - low}


def scale_to_canvas(
    example: Tensors,
    size: int,
    scale: float | tf.Tensor = 1.0,
    offset: Sequence[float] | tf.Tensor = (0.0, 0.0),
    min_visible: float = MIN_VISIBLE,
    fill: int = FILL,
) -> Tensors:
    """Scales an example to a longer side of scale * size, then crops or pads it to size x size.

    Args:
        example: dict, see `data.augment`.
        size: int. Side of the result.
        scale: () float > 0. At 1 the longer side of the image becomes `size`.
        offset: (2,) float in [0, 1), x and y. The share of the excess that is cut left and above.
        min_visible: as in `crop`.
        fill: int in 0..255. Value of the padding, right and below.

    Returns:
        The changed example.
    """
    old = _width_height(example["image"])
    side = tf.cast(scale, tf.float64) * size
    whole = tf.as_dtype(example["image"].dtype).is_integer
    image = image_ops.resize(example["image"], side, side, whole=whole)
    scaled = {**example, "image": tf.cast(image, example["image"].dtype)}
    new = _width_height(image)
    for name in BOXES & example.keys():
        scaled[name] = example[name] * tf.tile(tf.cast(new / old, tf.float32), [2])
    room = tf.cast(tf.maximum(new - size, 0) + 1, tf.float32)
    corner = tf.cast(tf.floor(offset * room), tf.int32)
    window = tf.concat([corner, tf.minimum(corner + size, new)], axis=0)
    return pad(crop(scaled, window, min_visible), size, size, fill)


def pad(example: Tensors, height: int, width: int, fill: int) -> Tensors:
    """Pads the image right and below to height x width."""
    shape = tf.shape(example["image"])
    missing = [[0, height - shape[0]], [0, width - shape[1]], [0, 0]]
    image = tf.pad(example["image"], missing, constant_values=fill)
    sides = [tf.get_static_value(side) for side in (height, width)]
    return {**example, "image": tf.ensure_shape(image, [*sides, image.shape[-1]])}


def _transpose(example):
    """Swaps x and y."""
    swapped = {**example, "image": tf.transpose(example["image"], [1, 0, 2])}
    for name in BOXES & example.keys():
        swapped[name] = tf.gather(example[name], [1, 0, 3, 2], axis=1)
    if "masks" in example:
        swapped["masks"] = tf.transpose(example["masks"], [0, 2, 1])
    return swapped


def _width_height(image):
    """Returns (width, height) of an image as (2,) int32."""
    return tf.gather(tf.shape(image), [1, 0])
