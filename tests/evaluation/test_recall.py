import contextlib
import io
import json
import types

import numpy as np
import pytest
from oracles import truth_as_proposals
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn import data, evaluation


def test_average_recall_of_the_truth_is_one(dataset):
    metrics = evaluation.average_recall(truth_as_proposals(dataset), dataset, verbose=0)
    expected = {"": 1, "s": 1, "m": 1, "l": -1}  # there are no large objects
    names = [f"bbox/AR{size}{limit}" for limit in (100, 1000) for size in expected]
    assert list(metrics) == names
    assert list(metrics.values()) == pytest.approx([*expected.values()] * 2)


def test_average_recall_by_hand(tmp_path):
    images = [{"id": i, "height": 200, "width": 200} for i in (1, 2)]
    objects = [  # image, category, box [x, y, w, h], crowd
        (1, 1, [0, 0, 10, 10], 0),
        (1, 2, [50, 50, 100, 100], 0),
        (2, 1, [0, 0, 20, 20], 0),
        (2, 1, [100, 100, 50, 50], 1),
    ]
    annotations = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
        for i, (image, category, box, crowd) in enumerate(objects)
    ]
    categories = [{"id": i, "name": str(i)} for i in (1, 2)]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    dataset = types.SimpleNamespace(annotations=str(path), image_ids=(1, 2), category_ids=(1, 2))
    proposals = {
        # The first has IoU 0.62 with the small object: found at 0.50, 0.55 and 0.60. The second is
        # exactly the large object.
        1: (np.array([[0, 0, 10, 6.2], [50, 50, 150, 150]]), np.array([0.9, 0.5])),
        2: (np.zeros([0, 4]), np.zeros(0)),
    }
    metrics = evaluation.average_recall(proposals, dataset, limits=(2, 1), verbose=0)
    expected = {
        "bbox/AR1": 0.3 / 3,
        "bbox/ARs1": 0.3 / 2,
        "bbox/ARm1": -1,
        "bbox/ARl1": 0,
        "bbox/AR2": 1.3 / 3,
        "bbox/ARs2": 0.3 / 2,
        "bbox/ARm2": -1,
        "bbox/ARl2": 1,
    }
    assert metrics == pytest.approx(expected)


def test_average_recall_is_pycocotools_of_all_images_at_once(dataset):
    proposals = truth_as_proposals(dataset, noise=6.0)
    results = [
        {"image_id": i, "category_id": 3, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(score)}
        for i, (boxes, scores) in proposals.items()
        for (x1, y1, x2, y2), score in zip(boxes.tolist(), scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(dataset.annotations)
        coco_eval = COCOeval(truth, truth.loadRes(results), "bbox")
        coco_eval.params.useCats, coco_eval.params.maxDets = 0, [2, 4]
        coco_eval.evaluate()
        coco_eval.accumulate()
    expected = coco_eval.eval["recall"][:, 0].mean(axis=0).T.ravel()  # limits, then sizes
    metrics = evaluation.average_recall(proposals, dataset, limits=(2, 4), verbose=0)
    assert list(metrics.values()) == pytest.approx(expected.tolist(), abs=1e-12)
    assert 0.1 < metrics["bbox/AR4"] < 0.9  # without noise the comparison would prove little


def test_average_recall_wants_every_image_and_positive_limits(dataset):
    proposals = truth_as_proposals(dataset)
    with pytest.raises(ValueError, match=r"limits must be positive. Received: limits=\(0, 5\)"):
        evaluation.average_recall(proposals, dataset, limits=(0, 5), verbose=0)
    del proposals[dataset.image_ids[2]]
    with pytest.raises(data.DataError, match="no proposals for 1 images. Received: image_id=24"):
        evaluation.average_recall(proposals, dataset, verbose=0)
