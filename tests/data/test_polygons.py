"""data/polygons.py: decisions without drawing agree with drawn masks."""

import array

import numpy as np
import pytest
from outlines import extent, shapes

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.polygons import Masks, compact, draw, surely_touch
from keras_maskrcnn.ops import rle


def test_what_surely_touches_does():
    rng, sure, every = np.random.default_rng(0), 0, 0
    for _ in range(12):
        height, width = rng.integers(5, 120, 2).tolist()
        outlines = shapes(rng, 200, height, width)
        boxes = np.array([extent(outline) for outline in outlines])
        elsewhere = rng.random(len(boxes)) < 0.4
        drawn = np.sort(rng.uniform(0, 1, (len(boxes), 2, 2)) * [width, height], axis=1)
        boxes[elsewhere] = drawn.reshape(-1, 4)[elsewhere]
        kept = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) > coco_checks.MIN_BOX_SIDE
        outlines, boxes = [o for o, k in zip(outlines, kept, strict=True) if k], boxes[kept]
        found = surely_touch(outlines, boxes, np.tile([height, width], [len(boxes), 1]))
        for i in np.flatnonzero(found):
            assert rle.touches(draw(outlines[i], height, width), boxes[i], height, width)
        sure, every = sure + np.count_nonzero(found), every + len(found)
    assert sure > every / 4


@pytest.mark.parametrize("outside", [-0.1, 30.1, float("nan"), float("inf")])
def test_nothing_is_sure_of_points_outside(outside):
    square = [4.0, 4, 14, 4, 14, 14, 4, 14]
    outlines = [[compact(square)], [compact(square), compact([*square, outside, 4])]]
    boxes = np.array([[4.0, 4, 14, 14]] * 2)
    assert surely_touch(outlines, boxes, np.array([[20, 30]] * 2)).tolist() == [True, False]
    assert surely_touch([], np.zeros([0, 4]), np.zeros([0, 2], int)).shape == (0,)


def test_compact_takes_numbers_alone():
    assert compact([1, 2.5]) == array.array("d", [1, 2.5])
    ready = array.array("d", [1])
    assert compact(ready) is ready
    for other in ([], None, "12", ["1"], [None], [[1]], [True], [10**400], {"a": 1}, (1, 2)):
        assert compact(other) is None


def test_masks_are_a_sequence_of_run_lengths():
    square = [4.0, 4, 14, 4, 14, 14, 4, 14]
    counts = draw([square], 20, 30)
    masks = Masks([counts, [compact(square)]], np.array([[20, 30], [20, 30]]))
    assert list(masks) == [counts, counts] == masks[0:2] and masks == [counts, counts]
    assert masks[-1] == counts and masks != [counts, b""] and len(masks) == 2


def test_masks_may_be_compared_with_anything():
    masks = Masks([b"04"], np.array([[2, 2]]))
    assert all(masks != other for other in (3, None, {b"04"}))
