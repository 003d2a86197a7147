import numpy as np
import pytest

from analysis.made_sets import made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis import curves
from keras_maskrcnn.evaluation import evaluate_results


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_ap_of_classes_is_that_of_pycocotools(iou_type):
    content, results = made(num_images=30, seed=6, digits=1)
    expected = evaluate_results(results, content, iou_types=[iou_type], per_class=True)
    matched = analysis.match(results, content, iou_type=iou_type)
    ap = curves.average_precisions(matched)
    names = [f"{iou_type}/AP/{name}" for name in matched.class_names]
    assert ap.mean(axis=0).tolist() == pytest.approx([expected[name] for name in names], abs=1e-12)
    assert ap[0].mean() == pytest.approx(expected[f"{iou_type}/AP50"], abs=1e-12)
    at_50 = curves.precisions_at_recalls(matched, matched.assign(0.5))
    np.testing.assert_allclose(at_50.mean(axis=1), ap[0], atol=1e-12)


def test_curves_and_thresholds_are_those_of_a_count():
    content, results = made(num_images=30, seed=7)
    matched = analysis.match(results, content)
    assignment = matched.assign(0.5)
    every, of_classes = analysis.precision_recall(matched, assignment)
    found, true = matched.detections, matched.objects
    for k, curve in [*enumerate(of_classes), (None, every)]:
        own = np.ones(len(found.score), bool) if k is None else found.category == k
        objects = (~true.ignore & (True if k is None else true.category == k)).sum()

        def f1(threshold, own=own, objects=objects):
            kept = own & ~assignment.ignored & (found.score >= threshold)
            hits = (kept & (assignment.object >= 0)).sum()
            return hits, kept.sum(), 2 * hits / (kept.sum() + objects)

        for i in (0, 13, 50, 80):
            hits, count, value = f1(curves.SCORES[i])
            numbers = curve.precision[i], curve.recall[i], curve.f1[i]
            assert numbers == pytest.approx((hits / count, hits / objects, value))
        best = max(f1(threshold)[2] for threshold in found.score)
        hits, count, value = f1(curve.best_threshold)
        assert value == pytest.approx(best) and curve.objects == objects
        found_there = {"precision": hits / count, "recall": hits / objects, "f1": value}
        assert curve.at_best == pytest.approx(found_there)


def test_thresholds_lie_between_the_scores():
    right = np.array([True, True, False])
    curve = curves._curves(np.array([0.9, 0.61, 0.6]), right, 2)
    assert curve.best_threshold == 0.605
    tied = curves._curves(np.array([0.9, 0.6, 0.6]), right, 2)  # both or none of 0.6
    assert tied.best_threshold == 0.6 and tied.at_best["f1"] == pytest.approx(0.8)
    close = curves._curves(np.array([0.9, 0.123456, 0.123455]), right, 2)
    assert 0.123455 < close.best_threshold <= 0.123456


def test_what_does_not_exist():
    content, results = made(num_images=4, seed=8)
    without = {
        **content,
        "annotations": [a for a in content["annotations"] if a["category_id"] == 3],
    }
    matched = analysis.match(results, without)
    _, (_, nucleus, _) = analysis.precision_recall(matched, matched.assign(0.5))
    assert nucleus.best_threshold is None and np.isnan(nucleus.recall).all()
    assert nucleus.precision[0] == 0 and np.isnan(nucleus.f1).all()
    assert np.isnan(curves.average_precisions(matched)[:, 1]).all()
    _, (cell, *_) = analysis.precision_recall(*[m := analysis.match([], content), m.assign(0.5)])
    assert cell.best_threshold is None and np.isnan(cell.precision).all() and not cell.f1.any()


def test_calibration_of_a_few():
    score, right = np.array([0.05, 0.95, 1.0, 0.92]), np.array([False, True, False, True])
    found = curves.calibration(score, right)
    assert found["bins"][9] == pytest.approx(
        {"from": 0.9, "to": 1.0, "count": 3, "score": 2.87 / 3, "correct": 2 / 3}
    )
    assert found["bins"][5] == {"from": 0.5, "to": 0.6, "count": 0, "score": None, "correct": None}
    assert found["ece"] == pytest.approx((0.05 + 0.87) / 4)
    assert curves.calibration(score[:0], right[:0])["ece"] is None
