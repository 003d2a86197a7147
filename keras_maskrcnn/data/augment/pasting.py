"""Pastes instances of one example into another (Simple Copy-Paste, Ghiasi et al., 2021)."""

import tensorflow as tf

from keras_maskrcnn.data.augment.draws import check, uniform
from keras_maskrcnn.data.augment.examples import MIN_VISIBLE, join, keep
from keras_maskrcnn.data.augment.geometry import crop, pad
from keras_maskrcnn.data.augment.tightening import fine_extents, mass, recrop
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops import mask_sampling
from keras_maskrcnn.typing import Tensors


def copy_paste(
    example: Tensors,
    other: Tensors,
    seed: tf.Tensor,
    share: float = 0.5,
    min_visible: float = MIN_VISIBLE,
) -> Tensors:
    """Pastes random instances of another example (Simple Copy-Paste, Ghiasi et al., 2021).

    Before this step, the paper applies `large_scale_jitter` and a flip to both examples. Edges are
    not blurred: the paper's results were as good without it (§3).

    Args:
        example, other: dicts with instances, see `data.augment`.
        seed: (2,) integer.
        share: float in [0, 1]. Probability that an instance of `other` is pasted.
        min_visible: as in `paste`.

    Returns:
        The changed example, as `paste` returns it.

    Raises:
        ValueError: if `other` has no masks.
    """
    chosen = uniform(seed, tf.shape(other["labels"])) < share
    return paste(example, keep(other, chosen), min_visible)


def paste(example: Tensors, other: Tensors, min_visible: float = MIN_VISIBLE) -> Tensors:
    """Pastes all instances of another example on top of this one; upper left corners coincide.

    The instances below lose the pixels that are covered. Proposals and ignored regions stay as
    they are; those of `other` are left out.

    Args:
        example, other: dicts with instances, see `data.augment`. `other` is cropped to the size of
            the image if it is larger.
        min_visible: float in [0, 1]. An instance is dropped if a smaller share of its mask is left:
            a covered instance of `example`, or a cropped instance of `other`.

    Returns:
        The example. Its own instances come first, those far from the pasted ones before those near
            them; the pasted ones follow.

    Raises:
        ValueError: if `other` has no masks.
    """
    check("masks" in other, "a data set with masks", masks=False)
    size = tf.shape(example["image"])[:2]
    common = tf.minimum(size, tf.shape(other["image"])[:2])
    other = crop(other, tf.stack([0, 0, common[1], common[0]]), min_visible)
    other = pad(other, size[0], size[1], 0)
    painted = _paint(other["masks"], other["boxes"], size)
    pixels = tf.cast(other["image"], example["image"].dtype)
    image = tf.where(painted[..., None], pixels, example["image"])

    near = tf.reduce_any(box_ops.iou(example["boxes"], other["boxes"]) > 0, axis=1)
    apart, below = keep(example, ~near), keep(example, near)
    boxes, masks = below["boxes"], below["masks"]
    uncovered = 1 - _coverage(painted, boxes, masks.shape[1])
    remaining = tf.cast(tf.round(tf.cast(masks, tf.float32) * uncovered), tf.uint8)
    left = mass(remaining)
    visible = tf.math.divide_no_nan(left, mass(masks))
    whole = tf.reduce_all(remaining == masks, axis=[1, 2])
    moved = tf.where(whole[:, None], boxes, fine_extents(remaining, boxes))
    below |= {"boxes": moved, "masks": recrop(remaining, boxes, moved)}
    below = keep(below, whole | ((visible >= min_visible) & (left > 0)))
    return {**example, "image": image, **join(apart, below, other)}


def _coverage(painted, boxes, side):
    """Computes the painted share of each cell of each box.

    Args:
        painted: (H, W) bool.
        boxes: (n, 4) float32.
        side: int M.

    Returns:
        (n, M, M) float32 in [0, 1]. Each value is the mean of 2 x 2 points.
    """
    # Outside the image the nearest border pixel counts.
    grid = tf.pad(tf.cast(painted, tf.uint8), [[1, 1], [1, 1]], "SYMMETRIC")[None]
    height, width = tf.unstack(tf.cast(tf.shape(painted), tf.float32))
    frame = [[-1.0, -1.0, width + 1, height + 1]]
    owners = tf.zeros([tf.shape(boxes)[0]], tf.int32)
    points = mask_sampling.sample(grid, tf.stack(frame), owners, boxes, 2 * side, 2 * side)
    return tf.nn.avg_pool2d(points[..., None], 2, 2, "VALID")[..., 0]


def _paint(masks, boxes, size):
    """Returns which pixels of an image of this size belong to any of the masks, (H, W) bool."""

    limit = tf.gather(size, [1, 0])  # x, y

    def add(canvas, instance):
        mask, box = instance
        low = tf.clip_by_value(tf.cast(tf.floor(box[:2]), tf.int32), 0, limit - 1)
        high = tf.clip_by_value(tf.cast(tf.math.ceil(box[2:]), tf.int32), low + 1, limit)
        window = tf.cast(tf.concat([low, high], axis=0), tf.float32)[None]
        width, height = tf.unstack(high - low)
        values = mask_sampling.sample(mask[None], box[None], [0], window, height, width)[0]
        around = tf.gather(tf.stack([low, limit - high], axis=1), [1, 0])
        return canvas | tf.reshape(tf.pad(values >= 127.5, around), size)

    # One instance at a time: all at once would take the memory of one image per instance.
    return tf.foldl(add, (masks, boxes), tf.zeros(size, tf.bool))
