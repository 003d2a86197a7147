import numpy as np
import pytest

from analysis import made_results
from keras_maskrcnn.analysis.image_changes import best_threshold, image_changes, image_scores
from keras_maskrcnn.analysis.matching import match
from keras_maskrcnn.analysis.resampling import Flags


def flags_of(results, truth):
    return Flags(match(results, truth, iou_type="bbox"))


@pytest.fixture
def truth():
    """Three images: two objects, one object, none."""
    made = made_results.make(0, images=3, classes=1, per_image=0)
    boxes = [(1, [0, 0, 100, 100]), (1, [200, 0, 100, 100]), (4, [0, 0, 100, 100])]
    made["annotations"] = [
        {"id": i, "image_id": image_id, "category_id": 1, "bbox": box, "area": 1e4, "iscrowd": 0}
        for i, (image_id, box) in enumerate(boxes)
    ]
    return made


def result(image_id, box, score):
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score}


def test_scores_by_hand(truth):
    results = [
        result(1, [0, 0, 100, 80], 0.9),  # IoU 0.8: right at 0.50 to 0.80
        result(1, [300, 300, 50, 50], 0.8),  # wrong
        result(4, [0, 0, 100, 100], 0.3),
    ]
    flags = flags_of(results, truth)
    # Image 1: F1 = 2 / (2 + 1 + 1) at seven of ten thresholds. Image 3 has nothing to do.
    np.testing.assert_allclose(image_scores(flags, 0.5), [0.35, 0, 1])
    np.testing.assert_allclose(image_scores(flags, 0.3), [0.35, 1, 1])
    np.testing.assert_allclose(image_scores(flags, 0.85), [0.7 * 2 / 3, 0, 1])
    # F1 of all images: with 0.9 alone 2 / 4, with all three 4 / 6 at seven thresholds.
    assert best_threshold(flags) == 0.3
    assert best_threshold(flags_of([], truth)) == 0


def test_equal_scores_count_together(truth):
    right, wrong = result(1, [0, 0, 100, 100], 0.5), result(1, [300, 300, 50, 50], 0.5)
    more = [result(4, [0, 0, 100, 100], 0.4)]
    assert best_threshold(flags_of([right, wrong, *more], truth)) == 0.4


def test_images_are_ranked_by_their_change(truth):
    a = [result(1, [0, 0, 100, 100], 0.9), result(4, [0, 0, 100, 100], 0.9)]
    b = [result(1, [0, 0, 100, 100], 0.9), result(1, [200, 0, 100, 100], 0.9)]
    found = image_changes((flags_of(a, truth), flags_of(b, truth)), (0.5, 0.5))
    assert found["unchanged"] == 1
    (better,), (worse,) = found["better"], found["worse"]
    assert better == {
        "image_id": 1,
        "file_name": "1.png",
        "a": pytest.approx(2 / 3, abs=1e-6),
        "b": 1.0,
        "change": pytest.approx(1 / 3, abs=1e-6),
    }
    assert (worse["image_id"], worse["change"]) == (4, -1.0)
