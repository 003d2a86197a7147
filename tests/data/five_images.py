"""Shared by the tests of batches: the sizes of `dataset`, its small batches and proposals."""

import numpy as np
import tensorflow as tf
from resizing import resizing

from keras_maskrcnn.data import batches

SIZES = [(20, 30), (40, 24), (16, 16), (18, 36), (32, 32)]


def small(dataset, batch_size=2, **options):
    return batches(dataset, batch_size, **{**resizing(24, 40), **options})


def numpy(batched):
    return list(batched.as_numpy_iterator())


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def some_proposals(dataset):
    """Returns 3 + i boxes for image i, best first. One box has no area inside the image."""
    found = {}
    for i, image_id in enumerate(dataset.image_ids):
        height, width = dataset.sizes[i]
        corners = np.random.default_rng(i).uniform([0, 0], [width, height], [2 + i, 2, 2])
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        boxes = np.concatenate([[[width, 0, width + 9, 5]], boxes]).astype(np.float32)
        found[image_id] = boxes, np.linspace(1, 0, len(boxes))
    return found
