"""Compares ops/rle.py with pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from keras_maskrcnn.ops import rle


@pytest.mark.parametrize(
    "rows, columns",
    [
        (slice(3, 9), slice(4, 7)),  # inside
        (slice(0, 12), slice(4, 7)),  # whole columns, so that runs go on in the next column
        (slice(0, 12), slice(0, 15)),  # the whole image
        (slice(0, 1), slice(0, 1)),  # the first pixel
        (slice(11, 12), slice(14, 15)),  # the last pixel
        (slice(5, 5), slice(5, 5)),  # no window
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_encode_region_equals_pycocotools(rows, columns, share):
    whole = np.zeros((12, 15), bool)
    whole[rows, columns] = np.random.default_rng(0).random(whole[rows, columns].shape) < share
    origin = (rows.start, columns.start)
    encoded = rle.encode_region(whole[rows, columns], origin, 12, 15)
    expected = coco_mask.encode(np.asfortranarray(whole, np.uint8))
    assert encoded == {"size": [12, 15], "counts": expected["counts"].decode()}


@pytest.mark.parametrize("origin", [(-2, -3), (8, 12), (-2, 12), (12, 0), (-5, 0)])
def test_what_lies_outside_of_the_image_is_left_out(origin):
    region = np.random.default_rng(0).random((5, 6)) < 0.5
    around = np.zeros((12 + 10, 15 + 12), bool)  # with room for the window on each side
    around[5 + origin[0] :, 6 + origin[1] :][:5, :6] = region
    expected = coco_mask.encode(np.asfortranarray(around[5:17, 6:21], np.uint8))
    encoded = rle.encode_region(region, origin, 12, 15)
    assert encoded == {"size": [12, 15], "counts": expected["counts"].decode()}


@pytest.mark.parametrize("seed", range(20))
def test_a_decoded_region_is_the_mask_inside_its_extent(seed):
    rng = np.random.default_rng(seed)
    whole = rng.random([12, 15]) < rng.choice([0.02, 0.3, 0.97, 1])
    counts = coco_mask.encode(np.asfortranarray(whole.astype(np.uint8)))["counts"]
    region, (y, x) = rle.decode_region(counts, 12, 15)
    again = np.zeros([12, 15], bool)
    again[y : y + region.shape[0], x : x + region.shape[1]] = region
    np.testing.assert_array_equal(again, whole)
    for edge in (region[0], region[-1], region[:, 0], region[:, -1]) if region.size else ():
        assert edge.any()
    assert region.size or not whole.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_encode_values_equals_pycocotools_for_each_value(dtype):
    index = np.random.default_rng(0).choice([0, 0, 0, 3, 200, 201], (12, 15)).astype(dtype)
    index[:, 4], index[-1, -1] = 3, 3  # a whole column, and the last pixel
    encoded = rle.encode_values(index)
    assert list(encoded) == [3, 200, 201]
    for value, found in encoded.items():
        expected = coco_mask.encode(np.asfortranarray(index == value, np.uint8))
        assert found == {"size": [12, 15], "counts": expected["counts"].decode()}
    assert rle.encode_values(np.zeros((12, 15), dtype)) == {}


def test_run_lengths_decode_as_pycocotools_encodes():
    for seed, density in enumerate((0.001, 0.1, 0.5, 0.9)):
        mask = np.random.default_rng(seed).random((300, 400)) < density
        encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        runs = rle.run_lengths(encoded["counts"])
        flat = np.repeat(np.arange(len(runs)) % 2, runs)
        np.testing.assert_array_equal(flat.reshape(400, 300).T, mask)


def test_touches_equals_looking_at_the_pixels():
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        height, width = (int(side) for side in rng.integers(1, 20, 2))
        mask = rng.random((height, width)) < rng.choice([0.0, 0.02, 0.5])
        encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        x, y, w, h = coco_mask.toBbox(encoded)
        drawn = np.sort(rng.random((2, 2)), axis=0) * [width, height]
        for box in (drawn.ravel(), np.array([x, y, x + w, y + h])):  # a random one, the mask's
            if min(box[2:] - box[:2]) > 1e-3:
                (x1, y1), (x2, y2) = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
                expected = mask[y1:y2, x1:x2].any()
                assert rle.touches(encoded["counts"], box, height, width) == expected
                found.append(expected)
    assert {True, False} == set(found)
