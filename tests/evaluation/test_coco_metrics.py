import json

import numpy as np
import pytest
from oracles import CATEGORY_IDS, Oracle, encode

from keras_maskrcnn import evaluation


def test_more_than_100_detections_count_when_asked_for(tmp_path, caplog):
    boxes = [[x * 10.0, y * 10.0, 8.0, 8.0] for x in range(15) for y in range(10)]
    fields = {"image_id": 1, "category_id": 1}
    annotations = [
        {"id": i + 1, "bbox": box, "area": 64.0, "iscrowd": 0, **fields}
        for i, box in enumerate(boxes)
    ]
    images, categories = [{"id": 1, "height": 100, "width": 150}], [{"id": 1, "name": "cell"}]
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    results = [{"bbox": box, "score": 1 - i / 1000, **fields} for i, box in enumerate(boxes)]

    def evaluate(max_detections):
        return evaluation.evaluate_results(
            results, path, max_detections=max_detections, iou_types=("bbox",)
        )

    assert evaluate(100)["bbox/AR100"] == pytest.approx(100 / 150)
    assert evaluate(100)["bbox/AP"] < 0.7
    assert "150 objects of one class, of which max_detections=100 can be found" in caplog.text
    caplog.clear()
    assert evaluate(500)["bbox/AR500"] == evaluate(500)["bbox/AP"] == pytest.approx(1)
    assert evaluate(500)["bbox/AR10"] == pytest.approx(10 / 150)
    assert not caplog.text
    with pytest.raises(ValueError, match="must exceed 10"):
        evaluate(10)


def test_segm_takes_the_area_of_the_mask_not_of_the_box(tmp_path):
    # A wrong detection with a small mask and a large box must count as small.
    images, categories = [{"id": 1, "height": 200, "width": 200}], [{"id": 1, "name": "cell"}]
    mask, diagonal = np.zeros((200, 200), bool), np.eye(200, dtype=bool)
    mask[:10, :10] = True
    fields = {"image_id": 1, "category_id": 1}
    truth = {"id": 1, "bbox": [0, 0, 10, 10], "segmentation": encode(mask), **fields}
    path = tmp_path / "annotations.json"
    content = {"images": images, "annotations": [truth], "categories": categories}
    path.write_text(json.dumps(content))  # without area and iscrowd
    results = [
        {"bbox": [0, 0, 200, 200], "segmentation": encode(diagonal), "score": 0.9, **fields},
        {"bbox": [0, 0, 10, 10], "segmentation": encode(mask), "score": 0.5, **fields},
    ]
    metrics = evaluation.evaluate_results(results, path)
    assert metrics["bbox/APs"] == pytest.approx(1)  # the large box is ignored
    assert metrics["segm/APs"] == pytest.approx(0.5)
    assert "area" not in results[0]  # the results are not changed


def test_ap_of_each_class_goes_by_the_name_of_the_training(dataset, named):
    content = {**dataset.content, "categories": dataset.content["categories"][:1]}
    dataset.annotations = {
        **content,
        "annotations": [a for a in content["annotations"] if a["category_id"] == CATEGORY_IDS[0]],
    }
    dataset.class_names = [dataset.class_names[0], *map(str, CATEGORY_IDS[1:])]  # as coco_dict does
    metrics = evaluation.evaluate(named, dataset, per_class=True, verbose=0)
    names = {name.removeprefix("bbox/AP/") for name in metrics if name.startswith("bbox/AP/")}
    assert names == set(named.config.class_names)
    twice = dict(class_names=["cell", "cell", "nothing"], category_ids=CATEGORY_IDS)
    content["categories"] = []
    metrics = evaluation.evaluate_results(
        [], dataset.annotations | content, per_class=True, **twice
    )
    ids = CATEGORY_IDS[:2]
    assert {f"bbox/AP/cell ({i})" for i in ids} | {"bbox/AP/nothing"} <= set(metrics)


def test_annotations_in_memory_are_judged_alike_and_stay_as_they_are(dataset):
    results = evaluation.predict_dataset(Oracle(dataset, noise=4.0), dataset, verbose=0)
    before = json.dumps(dataset.content)
    from_file, from_memory = (
        evaluation.evaluate_results(results, annotations)
        for annotations in (dataset.annotations, dataset.content)
    )
    assert from_memory == from_file and json.dumps(dataset.content) == before
