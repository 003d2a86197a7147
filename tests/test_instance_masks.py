import copy
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from keras_maskrcnn.instance_masks import InstanceMasks, trimmed


@pytest.fixture
def whole():
    """Three masks of an image of 5 x 7: a block, an L in a corner, nothing."""
    masks = np.zeros((3, 5, 7), bool)
    masks[0, 1:3, 2:5] = True
    masks[1, 4, 3:] = masks[1, 2:, 6] = True
    return masks


def test_windows_hold_the_objects_alone(whole):
    masks = InstanceMasks.of(whole)
    region, origin = masks.crop(1)
    assert region.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]] and origin == (2, 3)
    assert [crop.shape for crop, _ in masks.crops()] == [(2, 3), (3, 4), (0, 0)]
    assert masks.areas().tolist() == [6, 6, 0]


def test_they_are_like_the_array(whole):
    masks = InstanceMasks.of(whole)
    assert masks.shape == (3, 5, 7) and len(masks) == masks.ndim == 3 and masks.dtype == bool
    np.testing.assert_array_equal(masks, whole)
    np.testing.assert_array_equal(np.stack(list(masks)), whole)
    np.testing.assert_array_equal(masks[-2], whole[1])
    np.testing.assert_array_equal(masks[0, 1:, 2], whole[0, 1:, 2])
    np.testing.assert_array_equal(masks[:, 2], whole[:, 2])
    np.testing.assert_array_equal(masks[None], whole[None])
    np.testing.assert_array_equal(masks.any(0), whole.any(0))
    np.testing.assert_array_equal(np.any(masks, axis=0), whole.any(0))
    np.testing.assert_array_equal(~masks, ~whole)
    np.testing.assert_array_equal(masks & masks[::-1], whole & whole[::-1])
    np.testing.assert_array_equal(masks.astype(np.uint8) * 255, whole.astype(np.uint8) * 255)
    np.testing.assert_array_equal(np.asarray(masks, np.float32), whole.astype(np.float32))


@pytest.mark.parametrize(
    "index", [slice(1, None), [2, 0], np.array([0, 0]), np.array([True, False, True])]
)
def test_choosing_several_keeps_windows(whole, index):
    chosen = InstanceMasks.of(whole)[index]
    assert isinstance(chosen, InstanceMasks)
    np.testing.assert_array_equal(chosen, whole[index])


def test_an_index_beyond_the_end_is_refused(whole):
    with pytest.raises(IndexError):
        InstanceMasks.of(whole)[3]


def test_run_lengths_are_those_of_the_whole_mask(whole):
    masks = InstanceMasks.of(whole)
    for i in range(3):
        expected = coco_mask.encode(np.asfortranarray(whole[i].astype(np.uint8)))
        assert masks.rle(i) == {"size": [5, 7], "counts": expected["counts"].decode()}


def test_of_keeps_masks_in_windows(whole):
    masks = InstanceMasks.of(whole)
    assert InstanceMasks.of(masks) is masks


@pytest.mark.parametrize(
    "change", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_are_equal(whole, change):
    np.testing.assert_array_equal(change(InstanceMasks.of(whole)), whole)


def test_none_is_an_empty_array():
    masks = InstanceMasks.of(np.zeros((0, 4, 6), bool))
    assert np.asarray(masks).shape == masks.shape == (0, 4, 6) and masks.areas().shape == (0,)


def test_a_thousand_masks_of_a_large_image_need_no_gigabytes():
    crops = [np.ones((3, 4), bool)] * 1000
    masks = InstanceMasks(crops, [(i, i) for i in range(1000)], (100_000, 100_000))
    assert masks.shape == (1000, 100_000, 100_000)  # 10 TB as an array
    assert masks[::2].areas().sum() == 500 * 12 and masks.crop(999)[1] == (999, 999)


def test_crops_without_origins_are_refused():
    with pytest.raises(ValueError, match="1 crops, 0 origins"):
        InstanceMasks([np.ones((1, 1), bool)], [], (2, 2))


def test_trimmed_keeps_the_place():
    region = np.zeros((4, 5), bool)
    region[1, 2] = region[2, 3] = True
    inside, origin = trimmed(region, (10, 20))
    assert inside.tolist() == [[1, 0], [0, 1]] and origin == (11, 22)
    assert trimmed(region & False, (10, 20))[0].shape == (0, 0)


def test_they_cannot_be_changed_in_place(whole):
    masks = InstanceMasks.of(whole)
    with pytest.raises(TypeError, match=r"cannot be changed in place; use np.asarray"):
        masks &= True
