import json
import pathlib

import pytest
from oracles import Oracle

from keras_maskrcnn import data, evaluation


@pytest.mark.parametrize("outline", [None, [], [[5, 5, 20, 20]], "absent"])
def test_objects_without_outline_are_ignored_as_masks_and_counted_as_boxes(dataset, outline):
    model = Oracle(dataset)
    expected = evaluation.evaluate(model, dataset, verbose=0)
    for i in (0, 7):
        del dataset.content["annotations"][i]["area"]
        dataset.content["annotations"][i]["segmentation"] = outline
        if outline == "absent":
            del dataset.content["annotations"][i]["segmentation"]
    pathlib.Path(dataset.annotations).write_text(json.dumps(dataset.content))
    metrics = evaluation.evaluate(model, dataset, verbose=0)
    assert metrics["bbox/AP"] == expected["bbox/AP"] == pytest.approx(1)
    assert metrics["segm/AP50"] == expected["segm/AP50"] == pytest.approx(1)


def test_ids_may_be_zero_or_strings_and_iscrowd_null(dataset):
    expected = evaluation.evaluate(Oracle(dataset, noise=4.0), dataset, verbose=0)
    dataset.image_ids = [f"image {i}" for i in dataset.image_ids]
    for image in dataset.content["images"]:
        image["id"] = f"image {image['id']}"
    for annotation in dataset.content["annotations"]:
        annotation["image_id"] = f"image {annotation['image_id']}"
        annotation["id"] -= 1  # COCOeval alone would miss an object with id 0
        annotation["iscrowd"] = None
    dataset.content["annotations"][3]["id"] = "c"
    pathlib.Path(dataset.annotations).write_text(json.dumps(dataset.content))
    assert evaluation.evaluate(Oracle(dataset, noise=4.0), dataset, verbose=0) == expected


def test_annotations_of_windows_are_scored(tmp_path):
    box = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12}
    content = {"images": [{"id": 7, "height": 9, "width": 9}], "annotations": [box]}
    content["categories"] = [{"id": 1, "name": "zwölf"}]
    (tmp_path / "a.json").write_bytes(json.dumps(content, ensure_ascii=False).encode("utf-16"))
    results = [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1.0}]
    path = str(tmp_path / "a.json")
    metrics = evaluation.evaluate_results(results, path, iou_types=("bbox",))
    assert metrics["bbox/AP"] == pytest.approx(1)


@pytest.mark.parametrize("area", ["12", [12], None, float("nan"), -1])
def test_an_area_that_no_object_can_have_is_the_box_s_or_the_mask_s(area):
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}
    content = {"images": [{"id": 7, "height": 9, "width": 9}]}
    content["annotations"] = [{"id": 1, "area": area, **box}]
    content["categories"] = [{"id": 1, "name": "cell"}]
    results = [{**box, "score": 1.0}]
    metrics = evaluation.evaluate_results(results, content, iou_types=("bbox",))
    assert metrics["bbox/APs"] == pytest.approx(1)
    del content["annotations"][0]["bbox"]
    with pytest.raises(data.DataError, match="annotations: annotation 1: bbox is missing"):
        evaluation.evaluate_results(results, content, iou_types=("bbox",))
