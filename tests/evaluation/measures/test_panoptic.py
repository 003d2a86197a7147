import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.evaluation.measures import panoptic_quality


def test_quality_by_hand():
    truth = content(
        [
            entry(box(0, 0, 10, 10)),
            entry(box(20, 20, 30, 30)),
            entry(box(0, 30, 10, 40), category_id=2),
        ],
        classes=3,
    )
    results = [
        entry(box(0, 0, 10, 8), score=0.9),  # IoU 0.8
        entry(box(20, 40, 30, 50), score=0.9),  # wrong
        entry(box(0, 30, 10, 40), category_id=2, score=0.9),  # IoU 1
        entry(box(30, 0, 40, 9), category_id=2, score=0.9),  # wrong
    ]
    found = panoptic_quality(results, truth)
    # Class 1: TP 1, FP 1, FN 1. Class 2: TP 1, FP 1. Class 3 does not occur.
    assert found["RQ"] == pytest.approx((1 / 2 + 1 / 1.5) / 2)
    assert found["SQ"] == pytest.approx((0.8 + 1) / 2)
    assert found["PQ"] == pytest.approx((0.8 / 2 + 1 / 1.5) / 2)
    assert panoptic_quality(results, truth, category_ids=[2])["PQ"] == pytest.approx(1 / 1.5)
    assert panoptic_quality([], content([])) == {"PQ": -1, "SQ": -1, "RQ": -1}


def test_another_class_is_no_match():
    truth = content([entry(box(0, 0, 10, 10))], classes=2)
    results = [entry(box(0, 0, 10, 10), category_id=2, score=0.9)]
    assert panoptic_quality(results, truth)["PQ"] == 0


def test_detections_in_crowds_of_their_class_do_not_count():
    crowd = entry(box(20, 0, 40, 60), iscrowd=1)
    truth = content([entry(box(0, 0, 10, 10)), crowd], classes=2)
    right = entry(box(0, 0, 10, 10), score=0.9)

    def quality(**fields):
        return panoptic_quality([right, entry(score=0.8, **fields)], truth)["PQ"]

    assert quality(mask=box(15, 20, 30, 30)) == 1  # 10 of 15 rows are in the crowd
    assert quality(mask=box(10, 20, 30, 30)) == pytest.approx(1 / 1.5)  # exactly half
    assert quality(mask=box(15, 20, 30, 30), category_id=2) == pytest.approx(1 / 2)  # PQ 1 and 0
