"""Makes examples with ellipses and rectangles for the tests of `data.augment`, and checks them."""

import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops import masks as mask_ops

SIDE = 28  # M
SEED = tf.constant([1, 2])


def make_example(seed, count=5, height=48, width=64):
    """Draws ellipses and rectangles that overlap. Boxes are the extents of the visible parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    owner = np.full((height, width), -1)
    for i in range(count):
        center, radius = rng.uniform([6, 6], [width - 6, height - 6]), rng.uniform(5, 14, 2)
        u, v = (x - center[0]) / radius[0], (y - center[1]) / radius[1]
        owner[u**2 + v**2 < 1 if i % 2 else np.maximum(abs(u), abs(v)) < 1] = i
    found = [owner == i for i in range(count) if (owner == i).sum() > 20]
    extents = [(mask.any(axis=0).nonzero()[0], mask.any(axis=1).nonzero()[0]) for mask in found]
    boxes = np.array([[c[0], r[0], c[-1] + 1, r[-1] + 1] for c, r in extents], np.float32)
    masks = [mask_ops.crop(mask, box, SIDE) for mask, box in zip(found, boxes, strict=True)]
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    corners = np.sort(rng.integers(0, 2 * min(height, width), (6, 2, 2)) / 2, axis=1)
    return {
        "image": tf.constant(image),
        "boxes": tf.constant(boxes.reshape(-1, 4)),
        "labels": tf.range(1, len(found) + 1),
        "masks": tf.constant(np.reshape(masks, (-1, SIDE, SIDE)).astype(np.uint8)),
        "proposals": tf.constant(corners.reshape(6, 4), tf.float32),
        "ignored": tf.constant(corners.reshape(6, 4)[:3], tf.float32),
    }


EMPTY, OTHER = make_example(0, count=0), make_example(9)


def full_size(example):
    """Returns the masks as (n, H, W) bool."""
    masks, boxes = example["masks"].numpy() / 255, example["boxes"].numpy()
    return mask_ops.paste_all(masks, boxes, *example["image"].shape[:2])


def assert_equal(found, expected):
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def assert_extents(example):
    """Checks that boxes lie in the image, and masks reach each side of their box within a cell."""
    height, width = example["image"].shape[:2]
    boxes, masks = example["boxes"].numpy(), example["masks"].numpy().astype(int)
    assert (boxes >= 0).all() and (boxes <= [width, height] * 2).all()
    for mask in masks:
        covered = 2 * mask >= mask.max()
        assert mask.max() > 0
        for lines in (covered.any(axis=0), covered.any(axis=1)):
            assert lines[:2].any() and lines[-2:].any()


def iou(left, right):
    return (left & right).sum() / (left | right).sum()
