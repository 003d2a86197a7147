import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval

from analysis.made_sets import CATEGORIES, box, made
from keras_maskrcnn import analysis
from keras_maskrcnn.data import DataError
from keras_maskrcnn.evaluation.coco_objects import load_annotations, load_results


def by_pycocotools(results, content, iou_type, max_detections):
    """Returns the matches at each IoU: {iou: {(result, annotation)}}, and the ignored results."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = load_annotations(content, iou_type)
        coco_eval = COCOeval(truth, load_results(truth, results, iou_type), iou_type)
        coco_eval.params.maxDets = [max_detections]
        coco_eval.params.areaRng = [[0, 1e10]]
        coco_eval.evaluate()
    matches = {iou: set() for iou in coco_eval.params.iouThrs}
    ignored = {iou: set() for iou in coco_eval.params.iouThrs}
    for one in filter(None, coco_eval.evalImgs):
        for i, iou in enumerate(coco_eval.params.iouThrs):
            for k, detection in enumerate(one["dtIds"]):
                if one["dtMatches"][i, k] > 0:
                    matches[iou].add((detection - 1, int(one["dtMatches"][i, k]) - 1))
                if one["dtIgnore"][i, k]:
                    ignored[iou].add(detection - 1)
    return matches, ignored


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("max_detections", [100, 2])
def test_matches_are_those_of_pycocotools(iou_type, max_detections):
    content, results = made(num_images=40, seed=1)
    before = copy.deepcopy((content, results))
    matched = analysis.match(results, content, iou_type=iou_type, max_detections=max_detections)
    assert (content, results) == before
    expected, ignored = by_pycocotools(results, content, iou_type, max_detections)
    assert len(expected[0.5]) > 15 and ignored[0.5] and expected[0.5] != expected[0.75]
    for iou, pairs in expected.items():
        found = matched.assign(iou)
        rows = np.flatnonzero(found.object >= 0)
        annotations = matched.objects.annotation[found.object[rows]]
        own = matched.detections.result[rows]
        assert set(zip(own.tolist(), annotations.tolist(), strict=True)) == pairs
        assert set(matched.detections.result[found.ignored].tolist()) == ignored[iou]
        back = np.flatnonzero(found.detection >= 0)
        assert (found.object[found.detection[back]] == back).all()
        assert len(back) == len(rows) - found.ignored.sum()


def test_columns_say_what_was_given():
    content, results = made(seed=2)
    matched = analysis.match(results, content)
    found, true = matched.detections, matched.objects
    assert matched.image_ids == tuple(image["id"] for image in content["images"])
    assert matched.file_names[1] == "1.png" and matched.sizes.tolist() == [[48, 64]] * 12
    assert (matched.category_ids, matched.class_names[2]) == ((3, 7, 15), "<b>debris</b>")
    assert sorted(found.result.tolist()) == list(range(len(results)))
    for row, index in enumerate(found.result.tolist()):
        x, y, width, height = results[index]["bbox"]
        assert found.box[row].tolist() == [x, y, x + width, y + height]
        assert found.score[row] == results[index]["score"]
        assert found.area[row] == coco_mask.area(results[index]["segmentation"])
        assert matched.image_ids[found.image[row]] == results[index]["image_id"]
        assert matched.category_ids[found.category[row]] == results[index]["category_id"]
    assert [content["annotations"][i]["area"] for i in true.annotation] == true.area.tolist()
    assert [content["annotations"][i]["iscrowd"] for i in true.annotation] == true.ignore.tolist()
    for image in range(len(matched.image_ids)):
        rows, _ = matched.rows(image)
        assert (np.diff(found.score[rows]) <= 0).all() and (found.image[rows] == image).all()
        assert found.rank[rows].tolist() == list(range(rows.stop - rows.start))


def test_best_overlaps_are_those_of_the_matrix():
    content, results = made(seed=3)
    matched = analysis.match(results, content)
    found, true = matched.detections, matched.objects
    for image in range(len(matched.image_ids)):
        rows, columns = matched.rows(image)
        ious = matched.ious(image)
        if not ious.size:
            continue
        shapes = [results[i]["segmentation"] for i in found.result[rows]]
        others = [content["annotations"][i]["segmentation"] for i in true.annotation[columns]]
        expected = coco_mask.iou(shapes, others, true.ignore[columns].tolist())
        np.testing.assert_array_equal(ious, expected)
        real = ious * ~true.ignore[columns]
        same = found.category[rows, None] == true.category[None, columns]
        np.testing.assert_array_equal(found.any_iou[rows], real.max(axis=1))
        np.testing.assert_array_equal(found.iou[rows], (real * same).max(axis=1))
        np.testing.assert_array_equal(true.iou[columns], (real * same).max(axis=0))
        crowds = ious * true.ignore[columns] * same
        np.testing.assert_array_equal(found.crowd_iou[rows], crowds.max(axis=1))
        for row, best in enumerate(found.object[rows].tolist()):
            assert best < 0 or ious[row, best - columns.start] == found.iou[rows][row] > 0
    assert (found.any_iou > found.iou).any() and (found.crowd_iou > 0).any()


def test_a_part_of_the_images_and_classes(tmp_path):
    content, results = made(seed=4)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    ids = [image["id"] for image in content["images"]]
    matched = analysis.match(
        results, path, image_ids=ids[6:2:-1], category_ids=[15, 3], class_names=["late", "early"]
    )
    assert matched.image_ids == tuple(ids[3:7])
    assert matched.category_ids == (3, 15) and matched.class_names == ("early", "late")
    kept = [r for r in results if r["image_id"] in ids[3:7] and r["category_id"] != 7]
    assert len(matched.detections.score) == len(kept) > 5


def test_nothing_found_and_nothing_annotated(capsys):
    content, results = made(seed=5)
    nothing = analysis.match([], content)
    assert capsys.readouterr().out == ""  # pycocotools prints
    assert nothing.assign(0.5).object.shape == (0,) and not nothing.ious(0).size
    assert (nothing.assign(0.5).detection == -1).all() and len(nothing.objects.area) > 10
    empty = analysis.match(results, {**content, "annotations": []})
    assert (empty.assign(0.5).object == -1).all() and len(empty.detections.score) == len(results)


def test_polygons_and_masks_without_boxes_can_be_results():
    one = {"image_id": 4, "category_id": 3, "score": 0.5}
    content = {"images": [{"id": 4, "height": 48, "width": 64}], "categories": CATEGORIES}
    content["annotations"] = [{**one, "id": 1, **box(2, 3, 12, 9)}]
    polygon = [[2, 3, 12, 3, 12, 9, 2, 9]]
    matched = analysis.match(
        [{**one, "segmentation": polygon}, one | {"segmentation": []}], content
    )
    assert matched.detections.iou.tolist() == [1, 0] and matched.detections.area[0] == 60
    assert matched.detections.box[0].tolist() == [2, 3, 12, 9]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"score": None}, r"results\[1\]: score is missing"),
        ({"score": float("nan")}, r"results\[1\]: score must be finite. Received: score=nan"),
        ({"image_id": 5}, "must be in annotations. Received: image_id=5, category_id=3"),
        ({"category_id": 1}, "must be in annotations. Received: image_id=4, category_id=1"),
        ({"segmentation": {"size": [9, 9], "counts": "1"}}, "must have the image's size"),
        ({"segmentation": {"size": [48, 64], "counts": "1"}}, "cover the image exactly"),
    ],
)
def test_broken_results_are_named(changes, words):
    one = {"image_id": 4, "category_id": 3, "score": 0.5, **box(2, 3, 12, 9)}
    content = {"images": [{"id": 4, "height": 48, "width": 64}], "categories": CATEGORIES}
    content["annotations"] = [{**one, "id": 1}]
    with pytest.raises(DataError, match=words):
        analysis.match([one, one | changes], content)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iou_type": "mask"}, "iou_type must be 'segm' or 'bbox'"),
        ({"max_detections": 0}, "max_detections must be positive"),
        ({"image_ids": [4, 9]}, r"image_ids must be in annotations. Received: image_ids=\[9\]"),
        ({"category_ids": [2]}, "category_ids must be in annotations"),
    ],
)
def test_options_out_of_their_range(options, words):
    content, results = made(num_images=1)
    with pytest.raises(ValueError, match=words):
        analysis.match(results, content, **options)
    with pytest.raises(ValueError, match="iou must be in"):
        analysis.match(results, content).assign(0)
