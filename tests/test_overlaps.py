import numpy as np
import pytest

from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.overlaps import without_overlaps


def squares(*places, size=(50, 60)):
    """Makes masks of filled squares, each (y, x, side)."""
    crops = [np.ones((side, side), bool) for _, _, side in places]
    return InstanceMasks(crops, [(y, x) for y, x, _ in places], size)


def test_the_better_of_two_in_one_place_stays():
    masks = squares((0, 0, 10), (0, 1, 10), (30, 30, 10))  # the first two share 90 of 100 pixels
    assert without_overlaps(masks, 0.5).tolist() == [0, 2]
    assert without_overlaps(masks, 0.9).tolist() == [0, 1, 2]
    assert without_overlaps(masks, 0.89).tolist() == [0, 2]


def test_a_part_of_an_object_goes_although_its_iou_is_low():
    assert without_overlaps(squares((0, 0, 20), (5, 5, 4)), 0.5).tolist() == [0]
    assert without_overlaps(squares((5, 5, 4), (0, 0, 20)), 0.5).tolist() == [0]


def test_a_dropped_object_drops_no_other():
    masks = squares((0, 0, 10), (0, 4, 10), (0, 8, 10))  # the second overlaps both, they share 20
    assert without_overlaps(masks, 0.5).tolist() == [0, 2]


def test_masks_of_touching_boxes_may_be_apart():
    lower, upper = np.tri(10, 10, -1, dtype=bool), ~np.tri(10, 10, dtype=bool)
    masks = InstanceMasks([lower, upper], [(0, 0), (0, 0)], (10, 10))
    assert without_overlaps(masks, 0.0).tolist() == [0, 1]


def test_one_keeps_all_and_empty_masks_are_in_nobodys_way():
    masks = squares((0, 0, 10), (0, 0, 10))
    assert without_overlaps(masks, 1).tolist() == [0, 1]
    empty = InstanceMasks.of(np.zeros((2, 5, 5), bool))
    assert without_overlaps(empty, 0.0).tolist() == [0, 1]
    assert without_overlaps(empty[:0], 0.3).shape == (0,)


def test_it_equals_the_comparison_of_all_pairs():
    rng = np.random.default_rng(0)
    places = zip(
        rng.integers(0, 300, 200), rng.integers(0, 300, 200), rng.integers(1, 60, 200), strict=True
    )
    masks = squares(*((int(y), int(x), int(s)) for y, x, s in places), size=(360, 360))
    whole, kept = np.asarray(masks), []
    for i in range(200):
        shares = [(whole[i] & whole[j]).sum() / min(whole[i].sum(), whole[j].sum()) for j in kept]
        if not any(share > 0.3 for share in shares):
            kept.append(i)
    assert 20 < len(kept) < 190
    assert without_overlaps(masks, 0.3).tolist() == kept


@pytest.mark.parametrize("limit", [-0.1, 1.5, float("nan")])
def test_another_limit_is_refused(limit):
    with pytest.raises(ValueError, match="max_mask_overlap must be in 0..1"):
        without_overlaps(squares((0, 0, 3)), limit)
