import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.data import DataError
from keras_maskrcnn.evaluation.measures import lvis_ap

RIGHT = entry(box(0, 0, 10, 10), score=0.5)


def lvis(annotations, frequencies="f", **image):
    made = content(annotations, classes=len(frequencies))
    for category, frequency in zip(made["categories"], frequencies, strict=True):
        category["frequency"] = frequency
    made["images"][0] |= {"neg_category_ids": [], "not_exhaustive_category_ids": [], **image}
    return made


def test_wrong_detections_count_only_where_they_can_be_judged():
    objects = [entry(box(0, 0, 10, 10))]
    wrong = entry(box(20, 20, 30, 30), score=0.9)
    assert lvis_ap([wrong, RIGHT], lvis(objects))["AP"] == pytest.approx(0.5)
    truth = lvis(objects, not_exhaustive_category_ids=[1])
    assert lvis_ap([wrong, RIGHT], truth)["AP"] == pytest.approx(1)


def test_other_classes_count_only_if_they_are_known_to_be_absent():
    objects = [entry(box(0, 0, 10, 10), image_id=2, category_id=2), entry(box(0, 0, 10, 10))]
    wrong = entry(box(20, 20, 30, 30), category_id=2, score=0.9)
    right = entry(box(0, 0, 10, 10), image_id=2, category_id=2, score=0.5)

    def precision(**image):
        truth = lvis(objects, "fr", **image)
        truth["images"].append({**truth["images"][0], "id": 2, "neg_category_ids": []})
        return lvis_ap([wrong, right, RIGHT], truth)

    known = precision(neg_category_ids=[2])
    assert known["APr"] == pytest.approx(0.5) and known["APf"] == pytest.approx(1)
    assert known["AP"] == pytest.approx(0.75) and known["APc"] == -1
    assert precision()["APr"] == pytest.approx(1)


def test_the_best_detections_of_all_classes_count():
    truth = lvis([entry(box(0, 0, 10, 10))], "fc", neg_category_ids=[2])
    other = entry(box(0, 0, 10, 10), category_id=2, score=0.9)
    assert lvis_ap([other, RIGHT], truth, max_detections=1)["AR"] == 0
    assert lvis_ap([other, RIGHT], truth, max_detections=2)["AR"] == pytest.approx(1)
    assert lvis_ap([RIGHT], truth, iou_type="bbox")["APs"] == pytest.approx(1)


def test_a_file_that_is_not_of_lvis_is_refused():
    with pytest.raises(DataError, match="images: 1: neg_category_ids is missing; only LVIS"):
        lvis_ap([], content([]))
    truth = lvis([])
    del truth["categories"][0]["frequency"]
    with pytest.raises(DataError, match="categories: 1: frequency is missing"):
        lvis_ap([], truth)
    with pytest.raises(ValueError, match="iou_type must be .* Received: iou_type='mask'"):
        lvis_ap([], truth, iou_type="mask")
