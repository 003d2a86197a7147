import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.evaluation.measures import seg_score


def test_mean_jaccard_of_objects():
    truth = content([entry(box(0, 0, 10, 10)), entry(box(20, 20, 30, 30))], images=2)
    truth["annotations"].append(entry(box(0, 0, 4, 4), image_id=2, id=3))
    results = [
        entry(box(0, 0, 10, 8), score=0.9),  # 0.8
        entry(box(20, 20, 30, 25), score=0.9),  # exactly half of the object: no match
        entry(box(0, 40, 10, 50), score=0.9),  # costs nothing
        entry(box(0, 0, 8, 8), image_id=2, score=0.9),  # 16 / 64
    ]
    assert seg_score(results, truth)["SEG"] == pytest.approx((0.8 + 0 + 0.25) / 3)
    assert seg_score(results, truth, image_ids=[2])["SEG"] == 0.25
    assert seg_score([], truth)["SEG"] == 0 and seg_score([], content([]))["SEG"] == -1
