import numpy as np
import pytest
from drawn_masks import SIZE, box, content, entry
from scipy import ndimage

from keras_maskrcnn.evaluation import evaluate_results
from keras_maskrcnn.evaluation.measures import boundary_ap
from keras_maskrcnn.evaluation.measures.boundary import boundary, boundary_width


def test_width_is_two_percent_of_the_diagonal():
    assert boundary_width((300, 400)) == 10
    assert boundary_width((30, 40)) == 1 and boundary_width((3, 4)) == 1
    assert boundary_width((300, 400), 0.05) == 25
    assert boundary_width((75, 100)) == 2  # 2.5 is rounded to even, as the reference does


@pytest.mark.parametrize("width", [1, 2, 5])
def test_boundary_is_the_mask_without_its_erosion(width):
    rng = np.random.default_rng(width)
    for size in ((7, 9), (40, 60)):
        mask = ndimage.gaussian_filter(rng.random(size), 2) > 0.5
        kernel = np.ones((3, 3), bool)
        eroded = ndimage.binary_erosion(mask, kernel, iterations=width, border_value=0)
        np.testing.assert_array_equal(boundary(mask, width), mask & ~eroded)
    assert not boundary(np.zeros((4, 4), bool), width).any()


def test_the_outline_decides():
    truth = content([entry(box(5, 5, 35, 55))])
    result = entry(box(7, 7, 33, 53), score=0.9)
    inner, outer = 26 * 46, 30 * 50
    mask_iou = inner / outer
    assert 0.75 < mask_iou < 0.8 and boundary_width(SIZE) == 1  # the outlines do not touch
    assert evaluate_results([result], truth, iou_types=("segm",))["segm/AP"] == pytest.approx(0.6)
    assert boundary_ap([result], truth)["AP"] == 0
    same = boundary_ap([entry(box(5, 5, 35, 55), score=0.9)], truth)
    assert same["AP"] == pytest.approx(1) and same["AP75"] == pytest.approx(1) and same["APs"] == -1
    # A boundary of 3 pixels: a ring between the mask and what is left of it.
    rings = [box(*window).astype(bool) for window in ((5, 5, 35, 55), (7, 7, 33, 53))]
    rings = [ring & ~ndimage.binary_erosion(ring, np.ones((7, 7))) for ring in rings]
    iou = (rings[0] & rings[1]).sum() / (rings[0] | rings[1]).sum()
    wide = boundary_ap([result], truth, dilation_ratio=3 / 72)
    assert wide["AP50"] == (iou >= 0.5) and 0.1 < iou < mask_iou


def test_crowds_are_compared_by_their_masks():
    crowd = entry(box(10, 0, 40, 60), iscrowd=1)
    truth = content([entry(box(0, 0, 8, 8)), crowd])
    results = [entry(box(15, 5, 30, 50), score=0.9), entry(box(0, 0, 8, 8), score=0.8)]
    assert boundary_ap(results, truth)["AP"] == pytest.approx(1)  # the first is ignored


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="dilation_ratio must be positive. Received: .*=0"):
        boundary_ap([], content([]), dilation_ratio=0)
