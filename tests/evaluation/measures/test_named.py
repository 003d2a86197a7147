import pytest
from drawn_masks import box, content, entry

from keras_maskrcnn.evaluation import measures
from keras_maskrcnn.evaluation.measures.named import check_measures, measure


def test_measures_by_name():
    truth, results = content([entry(box(0, 0, 10, 10))]), [entry(box(0, 0, 10, 10), score=0.6)]
    names = [name for name in measures.MEASURES if name != "lvis"]
    found = measure(names, results, truth)
    assert {name.split("/")[0] for name in found} == set(names)
    assert found["dsb/score"] == found["seg/SEG"] == found["pq/PQ"] == found["masks/dice"] == 1
    assert found["boundary/AP"] == pytest.approx(1) and found["count/MAE"] == 0
    higher = measure(["dsb", "boundary"], results, truth, score_threshold=0.7)
    assert higher["dsb/score"] == 0 and higher["boundary/AP"] == pytest.approx(1)


def test_unknown_and_impossible_measures_are_refused():
    with pytest.raises(ValueError, match=r"measures must be of boundary, .*Received: .*'iou'"):
        measure(["iou"], [], content([]))
    check_measures(["count", "lvis"], masks=False)
    with pytest.raises(ValueError, match=r"needs masks. Received: measures=\['dsb'\]"):
        check_measures(["dsb"], masks=False)
