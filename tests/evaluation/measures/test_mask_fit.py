import sys

import numpy as np
import pytest
from drawn_masks import SIZE, box, content, entry
from scipy.spatial.distance import directed_hausdorff

from keras_maskrcnn.evaluation.measures import mask_quality
from keras_maskrcnn.evaluation.measures.mask_fit import outline_distances


def test_quality_by_hand():
    truth = content([entry(box(0, 0, 10, 10)), entry(box(20, 20, 30, 30))])
    results = [entry(box(0, 0, 10, 8), score=0.9), entry(box(0, 0, 10, 10), score=0.8)]
    found = mask_quality(results, truth)  # the better detection takes the object
    assert found["found"] == 0.5
    assert found["dice"] == pytest.approx(2 * 80 / 180)
    assert found["dice_of_all"] == pytest.approx(80 / 180)
    assert found["hausdorff"] == 2 and 1 < found["hausdorff95"] <= 2
    assert mask_quality([], truth)["dice"] == mask_quality([], content([]))["found"] == -1
    other = [entry(box(0, 0, 10, 10), category_id=2, score=0.9)]
    assert mask_quality(other, content(truth["annotations"], classes=2))["found"] == 0


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_those_of_scipy(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = []
    for _ in range(2):
        center, radii = rng.uniform([10, 20], [30, 40]), rng.uniform(3, 14, 2)
        offset = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2
        masks.append(offset + rng.normal(0, 0.1, SIZE) < 1)
    points = []
    for mask in masks:
        padded = np.pad(mask, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        points.append(np.argwhere(mask & ~inside))
    expected = max(directed_hausdorff(*points)[0], directed_hausdorff(*points[::-1])[0])
    distances = outline_distances(*masks)
    assert len(distances) == len(points[0]) + len(points[1])
    assert distances.max() == pytest.approx(expected)


def test_without_scipy_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    one = box(0, 0, 10, 10)
    with pytest.raises(ImportError, match=r"pip install 'keras3-maskrcnn\[measures\]'"):
        outline_distances(one > 0, one > 0)
