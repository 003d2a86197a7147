import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.evaluation.measures import counting_error


def test_errors_by_hand():
    one = box(0, 0, 10, 10)
    truth = content([entry(one), entry(one), entry(one, image_id=2, category_id=2)], 3, 2)
    truth["annotations"].append(entry(one, image_id=3, iscrowd=1))
    results = [
        entry(one, score=0.5),
        entry(one, category_id=2, score=0.9),
        entry(one, score=0.49),
        *[entry(one, image_id=2, category_id=2, score=0.9)] * 3,
        entry(one, image_id=3, score=0.9),
    ]
    # Image 1: classes -1 and +1, together 0. Image 2: 0 and +2, together 2. Image 3 is crowded.
    found = counting_error(results, truth)
    assert found == {
        "MAE": 1.0,
        "RMSE": pytest.approx(2**0.5),
        "bias": 1.0,
        "class_MAE": 1.0,
        "images": 2.0,
    }
    assert counting_error([], truth, category_ids=[1], image_ids=[1])["bias"] == -2
    assert counting_error([], truth, image_ids=[3])["MAE"] == -1
    with pytest.raises(ValueError, match=r"score_threshold must be in 0..1. Received: .*=2"):
        counting_error([], truth, score_threshold=2)
