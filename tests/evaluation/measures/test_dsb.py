import numpy as np
import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.evaluation.measures import dsb_score


def test_score_by_hand():
    truth = content([entry(box(0, 0, 10, 10)), entry(box(20, 20, 30, 30))], images=3)
    results = [
        entry(box(0, 0, 10, 8), score=0.9),  # IoU 0.8: a hit at 0.50 to 0.75
        entry(box(20, 40, 30, 50), score=0.9),  # wrong
        entry(box(20, 20, 30, 30), score=0.4),  # below the threshold
        entry(box(0, 0, 5, 5), image_id=2, score=0.9),  # in an image without objects
    ]
    # Of the first image: 1 / (1 + 1 + 1) at six of ten thresholds. The third has nothing.
    found = dsb_score(results, truth)
    assert found["score"] == pytest.approx(np.mean([0.6 / 3, 0]))
    assert found["score50"] == found["score75"] == pytest.approx(1 / 6)
    assert dsb_score(results, truth, image_ids=[1])["score"] == pytest.approx(0.2)
    assert dsb_score(results, truth, score_threshold=0.3, image_ids=[1])["score50"] == 2 / 3
    assert dsb_score([], truth, image_ids=[3]) == {"score": -1, "score50": -1, "score75": -1}


def test_an_iou_of_exactly_the_threshold_is_no_hit():
    truth = content([entry(box(0, 0, 10, 10))])
    assert dsb_score([entry(box(0, 0, 10, 5), score=0.9)], truth)["score50"] == 0
    assert dsb_score([entry(box(0, 0, 10, 6), score=0.9)], truth)["score50"] == 1


def test_a_pixel_belongs_to_the_best_detection():
    truth = content([entry(box(0, 0, 10, 10)), entry(box(0, 10, 10, 20))])
    second = entry(box(0, 0, 10, 20), score=0.6)  # its left half is hidden
    assert dsb_score([entry(box(0, 0, 10, 10), score=0.9), second], truth)["score"] == 1
    assert dsb_score([entry(box(0, 0, 10, 10), score=0.5), second], truth)["score50"] == 0
