import contextlib
import dataclasses
import io
import sys

import pytest
import tensorflow as tf
from absl import logging
from oracles import CATEGORY_IDS, Oracle, Proposer, truth_as_proposals
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import MaskRCNNConfig, evaluation

NAMES = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)


def summarize(annotations, results, iou_type):
    """Returns the numbers that pycocotools prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotations)
        shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
        names = ("image_id", "category_id", "score", shape)
        loaded = truth.loadRes([{name: result[name] for name in names} for result in results])
        coco_eval = COCOeval(truth, loaded, iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return coco_eval.stats


def test_evaluate_equals_coco_summarize_at_100(dataset):
    model = Oracle(dataset, noise=4.0)
    metrics = evaluation.evaluate(model, dataset, verbose=0)
    results = evaluation.predict_dataset(model, dataset, verbose=0)
    assert len(metrics) == 24 and {type(value) for value in metrics.values()} == {float}
    for iou_type in ("bbox", "segm"):
        stats = summarize(dataset.annotations, results, iou_type)
        assert [metrics[f"{iou_type}/{name}"] for name in NAMES] == stats.tolist()
    assert 0.1 < metrics["bbox/AP"] < 0.95  # without noise the comparison would prove little


def test_evaluate_of_the_truth_is_near_one(dataset):
    metrics = evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert metrics["bbox/AP"] == pytest.approx(1)
    assert metrics["segm/AP"] > 0.9


def test_evaluate_does_not_depend_on_the_batch_size(dataset):
    model = Oracle(dataset, noise=4.0)
    one = evaluation.evaluate(model, dataset, batch_size=1, verbose=0)
    assert evaluation.evaluate(model, dataset, batch_size=2, verbose=0) == one


def test_evaluate_without_detections_is_zero(dataset):
    metrics = evaluation.evaluate(Oracle(dataset, empty=True), dataset, verbose=0)
    assert metrics["bbox/AP"] == metrics["segm/AP"] == metrics["segm/AR100"] == 0


def test_evaluate_counts_the_images_of_the_data_set_only(dataset):
    model = Oracle(dataset)
    dataset.image_ids, dataset.sizes = dataset.image_ids[:2], dataset.sizes[:2]
    assert evaluation.evaluate(model, dataset, verbose=0)["bbox/AR100"] == pytest.approx(1)


def test_evaluate_per_class_names_the_classes(dataset):
    model = Oracle(dataset, noise=4.0)
    metrics = evaluation.evaluate(model, dataset, per_class=True, verbose=0)
    cell, nucleus = metrics["segm/AP/cell"], metrics["segm/AP/nucleus"]
    assert metrics["segm/AP"] == pytest.approx((cell + nucleus) / 2)
    assert metrics["segm/AP/nothing"] == -1


def test_evaluate_warns_when_the_model_returns_fewer(dataset, monkeypatch):
    warnings = []
    monkeypatch.setattr(logging, "warning", lambda text, *args: warnings.append(text % args))
    evaluation.evaluate(Oracle(dataset), dataset, verbose=0)
    assert not warnings
    evaluation.evaluate(Oracle(dataset), dataset, max_detections=500, verbose=0)
    assert "at most 100" in warnings[0] and "max_detections=500" in warnings[0]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"max_detections": 10}, {"max_detections": float("nan")}]
)
def test_numbers_are_checked_before_work(dataset, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name} must .* Received: {name}="):
        evaluation.evaluate(None, dataset, **wrong)
    with pytest.raises(ValueError, match=rf"{name} must .* Received: {name}="):
        evaluation.CocoEvaluation(dataset, **wrong)


def test_categories_that_the_data_set_leaves_out_do_not_count(dataset):
    model = Oracle(dataset, noise=4.0)
    cells = evaluation.evaluate(model, dataset, per_class=True, verbose=0)["segm/AP/cell"]
    dataset.category_ids = CATEGORY_IDS[:1]
    model.config = MaskRCNNConfig(
        image_min_side=64, image_max_side=96, num_classes=3, category_ids=CATEGORY_IDS
    )
    assert evaluation.evaluate(model, dataset, verbose=0)["segm/AP"] == cells


def test_evaluate_of_an_rpn_is_its_average_recall(dataset):
    proposals = truth_as_proposals(dataset, noise=4.0)
    expected = evaluation.average_recall(proposals, dataset, verbose=0)
    assert evaluation.evaluate(Proposer(proposals), dataset, verbose=0) == expected


def test_evaluate_hands_proposals_to_the_model(dataset):
    class Echo(Oracle):  # its boxes are the proposals
        def __init__(self, dataset):
            super().__init__(dataset)
            self.config = dataclasses.replace(self.config, proposals="precomputed")

        def predict_step(self, data):
            empty = tf.zeros_like(super().predict_step(data)["boxes"])[:, 4:]
            boxes = tf.concat([data["proposals"], empty], axis=1)
            return {**super().predict_step(data), "boxes": boxes}

    proposals = truth_as_proposals(dataset)
    metrics = evaluation.evaluate(Echo(dataset), dataset, proposals=proposals, verbose=0)
    assert metrics["bbox/AP"] == pytest.approx(1)
    moved = {image_id: (boxes + 300, scores) for image_id, (boxes, scores) in proposals.items()}
    assert evaluation.evaluate(Echo(dataset), dataset, proposals=moved, verbose=0)["bbox/AP"] == 0
    with pytest.raises(ValueError, match="proposals='joint', and some"):
        evaluation.evaluate(Oracle(dataset), dataset, proposals=proposals, verbose=0)


def test_more_measures_and_another_engine(dataset, monkeypatch):
    model = Oracle(dataset, noise=2.0)
    names = ["boundary", "count", "dsb", "masks", "pq", "seg"]
    plain = evaluation.evaluate(model, dataset, verbose=0)
    found = evaluation.evaluate(model, dataset, measures=names, verbose=0)
    assert {k: v for k, v in found.items() if k in plain} == plain
    assert {name.split("/")[0] for name in found} == {"bbox", "segm", *names}
    assert 0 < found["boundary/AP"] <= found["segm/AP"] and 0 < found["pq/PQ"] < 1
    assert found["count/images"] == len(dataset.image_ids)
    options = {"measures": ["seg"], "measures_threshold": 1.0, "verbose": 0}
    assert evaluation.evaluate(model, dataset, **options)["seg/SEG"] == 0  # no score is 1
    with pytest.raises(ValueError, match=r"measures must be of .*Received: measures=\['iou'\]"):
        evaluation.evaluate(model, dataset, measures=["iou"])
    with pytest.raises(ValueError, match="Received: engine='fast'"):
        evaluation.evaluate(model, dataset, engine="fast")
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ImportError, match="engine"):
        evaluation.evaluate(model, dataset, engine="faster_coco_eval")


def test_class_thresholds_are_said_to_lower_ap(dataset, caplog):
    model = Oracle(dataset)
    evaluation.evaluate(model, dataset, verbose=0)
    assert "class_thresholds" not in caplog.text
    model.config = dataclasses.replace(model.config, class_thresholds=(0.5, 0.5, 0.5))
    evaluation.evaluate(model, dataset, verbose=0)
    assert "take model.with_config(class_thresholds=())" in caplog.text
