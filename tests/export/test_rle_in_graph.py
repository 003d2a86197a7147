"""Compares export/rle_in_graph.py with pycocotools, byte by byte."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from keras_maskrcnn.export import rle_in_graph

encode = tf.function(
    rle_in_graph.encode_region,
    input_signature=[
        tf.TensorSpec([None, None], tf.bool),
        tf.TensorSpec([2], tf.int64),
        tf.TensorSpec([2], tf.int64),
    ],
)


def noise(rng):
    return rng.random(rng.integers(1, 60, 2)) < rng.random()


def blobs(rng):
    height, width = rng.integers(20, 120, 2)
    coarse = Image.fromarray(rng.random((5, 5)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) > 0.5


def full(rng):
    return np.ones(rng.integers(1, 90, 2), bool)


def empty(rng):
    return np.zeros(rng.integers(1, 90, 2), bool)


def one_pixel(rng):
    mask = empty(rng)
    mask[rng.integers(mask.shape[0]), rng.integers(mask.shape[1])] = True
    return mask


def one_row(rng):
    return noise(rng)[:1]


def one_column(rng):
    return noise(rng)[:, :1]


def long_runs(rng):
    """Makes runs of up to a million pixels; their differences have five digits and both signs."""
    mask = np.zeros((1000, 2000), bool)
    for column in rng.integers(0, 2000, 4):
        mask[rng.integers(0, 900) :, column : column + rng.integers(1, 900)] ^= True
    return mask


MASKS = {
    noise: 300,
    blobs: 250,
    full: 100,
    empty: 50,
    one_pixel: 100,
    one_row: 90,
    one_column: 90,
    long_runs: 20,
}


@pytest.mark.parametrize("make", MASKS, ids=lambda make: make.__name__)
def test_strings_of_1000_masks_equal_pycocotools(make):
    assert sum(MASKS.values()) == 1000
    rng = np.random.default_rng(0)
    for _ in range(MASKS[make]):
        mask = make(rng)
        expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]
        assert encode(mask, [0, 0], mask.shape).numpy() == expected


@pytest.mark.parametrize(
    "rows, columns",
    [
        (slice(3, 9), slice(4, 7)),  # inside
        (slice(0, 12), slice(4, 7)),  # whole columns, so that runs go on in the next column
        (slice(0, 1), slice(0, 1)),  # the first pixel
        (slice(11, 12), slice(14, 15)),  # the last pixel
        (slice(5, 5), slice(5, 5)),  # no window
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_a_window_is_encoded_as_the_image_around_it(rows, columns, share):
    whole = np.zeros((12, 15), bool)
    whole[rows, columns] = np.random.default_rng(0).random(whole[rows, columns].shape) < share
    found = encode(whole[rows, columns], [rows.start, columns.start], [12, 15])
    assert found.numpy() == coco_mask.encode(np.asfortranarray(whole, np.uint8))["counts"]
