"""doctor/mask_agreement.py: box and area agree with the mask, except for rounding of tools."""

import numpy as np
import pytest
from pycocotools import mask as mask_api

from keras_maskrcnn.doctor.mask_agreement import disagree, is_area, mask_extents, xywh


def test_the_extent_is_the_smallest_box_around_the_mask():
    mask = np.zeros([2, 20, 30], np.uint8)
    mask[0, 5:11, 4:14] = 1  # the other is empty
    encoded = [mask_api.encode(np.asfortranarray(m)) for m in mask]
    np.testing.assert_array_equal(mask_extents(encoded), [[4, 5, 14, 11], [0, 0, 0, 0]])
    assert xywh(mask_extents(encoded)[0]) == [4, 5, 10, 6]


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ([0, 0, 10, 10], False),
        ([2, 0, 12, 10], False),  # IoU 0.67, but no side differs by more than 2 pixels
        ([3, 0, 13, 10], True),
        ([0, 0, 10, 14], False),  # IoU 0.71
        ([0, 0, 10, 15], True),
        ([20, 20, 30, 30], True),
    ],
)
def test_a_box_disagrees_below_an_iou_if_a_side_is_pixels_off(box, wrong):
    boxes = np.array([box], float)
    assert disagree(boxes, np.array([[0, 0, 10, 10]], float)).tolist() == [wrong]


@pytest.mark.parametrize("value", [100, 216, 34, 34.0])
def test_areas_up_to_a_factor_of_two_and_some_pixels_are_the_mask_s(value):
    assert is_area(value, 100)


@pytest.mark.parametrize("value", [217, 33, -1, float("nan"), "100", True, [100]])
def test_other_values_are_no_area(value):
    assert not is_area(value, 100)
