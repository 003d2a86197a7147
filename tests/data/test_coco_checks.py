"""data/coco_checks.py: dropped and counted parts, and the messages of errors."""

import pytest
from pycocotools import mask as mask_api
from small_coco import HEIGHT, IMAGE, RECTANGLE, WIDTH, annotation, content, read, uncompressed

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.coco import coco_json, require_instances
from keras_maskrcnn.data.errors import DataError

RLE_SIZE = {"size": [WIDTH, HEIGHT], "counts": [WIDTH * HEIGHT]}
FAR = [[4, 5, 1e18, 5, 14, 11]]


def runs(counts):
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}}


@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (coco_checks.CROWD, {"iscrowd": 1, "segmentation": uncompressed()}),
        (coco_checks.NO_AREA, {"bbox": [4, 5, 0, 6]}),
        (coco_checks.NO_AREA, {"bbox": [4, 5, 10, -6]}),
        (coco_checks.NO_AREA, {"bbox": [WIDTH + 1, 5, 10, 6]}),
        (coco_checks.NO_POLYGON, {"segmentation": []}),
        (coco_checks.NO_POLYGON, {"segmentation": [[]]}),
        (coco_checks.NO_POLYGON, {"segmentation": [[4, 5, 14, 11]]}),
        (coco_checks.NO_MASK, {"bbox": [20, 12, 5, 5]}),
        (coco_checks.NO_MASK, {"segmentation": [[4, 5, 4, 5, 4, 5]]}),
        (
            coco_checks.NO_MASK,
            {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}},
        ),
    ],
)
def test_useless_annotations_are_dropped_and_counted(tmp_path, reason, changes):
    dataset = read(tmp_path, content([annotation(1), annotation(2, **changes)]))
    assert dataset.dropped == {reason: 1}
    assert dataset.num_instances.tolist() == [1]
    assert dataset.report() == f"dropped 1: {reason} (ids 2)"


def test_a_short_polygon_beside_others_is_dropped_alone(tmp_path):
    dataset = read(tmp_path, content([annotation(segmentation=[*RECTANGLE, [1, 1, 2, 2]])]))
    assert dataset.dropped == {coco_checks.FEW_POINTS: 1}
    assert dataset.num_instances.tolist() == [1]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"image_id": 8}, "annotation 1: unknown image_id. Received: image_id=8."),
        ({"image_id": [9]}, r"annotation 1: unknown image_id. Received: image_id=\[9\]."),
        ({"category_id": 8}, "annotation 1: unknown category_id. Received: category_id=8."),
        ({"bbox": None}, "annotation 1: bbox is missing."),
        ({"segmentation": None}, "annotation 1: segmentation is missing."),
        ({"bbox": [1, 2, 3]}, r"bbox must be 4 finite numbers.* Received: bbox=\[1, 2, 3\]."),
        ({"bbox": [1, 2, 3, "4"]}, "bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "bbox must be 4 finite numbers"),
        ({"bbox": "1234"}, "bbox must be 4 finite numbers"),
        ({"iscrowd": "0"}, "iscrowd must be 0 or 1. Received: iscrowd='0'."),
        ({"segmentation": [["4", "5", "14", "5", "14", "11"]]}, "must be polygons"),
        ({"segmentation": [[4, 5, 14, 5, 14, float("nan")]]}, "must be polygons"),
        ({"segmentation": [[4, 5, 14, 5, 14, 11, 3]]}, "must be polygons"),
        ({"segmentation": RECTANGLE[0]}, "must be polygons"),
        ({"segmentation": FAR}, "annotation 1: polygon far outside the image. Received: segm"),
        ({"segmentation": "rle"}, "must be a list of polygons, or an object of size and counts"),
        ({"segmentation": {"counts": [600]}}, "an object of size and counts"),
        ({"segmentation": RLE_SIZE}, r"must have the image's size \[20, 30\]"),
        (runs([100]), "counts must be run lengths that cover the image exactly"),
        (runs([-10, 610]), "run lengths that cover"),
        (runs([0.5, 599.5]), "run lengths that cover"),
        (runs([2**62] * 4 + [600]), "run lengths that cover"),
        (runs([]), "run lengths that cover"),
        (runs(None), "run lengths that cover"),
        (runs(""), "run lengths that cover"),
        (runs("P"), "run lengths that cover"),  # ends inside a number
        (runs("12l1"), "run lengths that cover"),
        (runs("PPPPPPPPPPPP1"), "run lengths that cover"),
        (runs("é\x00"), "run lengths that cover"),
    ],
)
def test_a_broken_annotation_is_refused_in_one_line_that_names_it(tmp_path, changes, line):
    with pytest.raises(DataError, match=line) as caught:
        read(tmp_path, content([annotation(1, **changes)]))
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: annotation 1: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"images": [IMAGE, IMAGE]}, "a.json: image 9: two images have this id."),
        ({"images": []}, "a.json: there are no images."),
        ({"images": {}}, "with a list of objects 'images'. Received: {}."),
        ({"annotations": {}}, "with a list of objects 'annotations'"),
        ({"categories": [3]}, r"with a list of objects 'categories'. Received: \[3\]."),
        ({"categories": []}, "category ids must be distinct, at least one"),
        ({"categories": [{"id": 1}, {"id": 1}]}, "its own integer id. Received: id=1."),
        ({"categories": [{"name": "x"}]}, "its own integer id. Received: id=None."),
        ({"images": [{**IMAGE, "id": None}]}, "every image needs an id.* Received: id=None."),
        ({"images": [{**IMAGE, "file_name": 3}]}, "image 9: file_name must be a path"),
        ({"images": [{**IMAGE, "file_name": "/a.png"}]}, "image 9: .*inside the folder"),
        ({"images": [{**IMAGE, "file_name": "b/../../a.png"}]}, "image 9: .*inside the folder"),
        ({"images": [{**IMAGE, "width": 0}]}, "must be positive integers. Received: .*width=0"),
        ({"images": [{**IMAGE, "height": "20"}]}, "Received: height='20'"),
        ({"images": [{**IMAGE, "width": 10**30}]}, "a product of at most 178956970"),
        ({"images": [{**IMAGE, "file_name": "b.png"}]}, "b.png: image file does not exist."),
        (
            {"images": [{**IMAGE, "width": 31}], "annotations": []},
            "a.png: the json says width=31, height=20. Received: width=30, height=20.$",
        ),
        (
            {"annotations": [annotation(1), annotation(1)]},
            "a.json: annotation 1: two annotations have this id.",
        ),
        ({"annotations": [annotation(None)]}, "every annotation needs an id"),
    ],
)
def test_a_broken_json_is_refused_in_one_line(tmp_path, changes, line):
    with pytest.raises(DataError, match=line) as caught:
        read(tmp_path, content(**changes))
    assert "\n" not in str(caught.value)


def test_categories_that_the_model_does_not_know_are_refused(tmp_path):
    with pytest.raises(DataError, match="annotation 1: unknown category_id.*=7"):
        read(tmp_path, content(), category_ids=[12, 31])
    with pytest.raises(DataError, match="must be distinct.* Received: \\(7, 7\\)"):
        read(tmp_path, content(), category_ids=[7, 7])


@pytest.mark.parametrize("area", ["60", [60], float("nan"), -1, None])
def test_an_area_that_no_object_can_have_becomes_the_mask_s(tmp_path, area):
    dataset = read(tmp_path, content([annotation(area=area)]))
    (entry,) = dataset.content()["annotations"]
    assert entry["area"] == mask_api.area({"size": dataset.sizes[0], "counts": dataset.counts[0]})


@pytest.mark.parametrize(
    ("annotations", "line"),
    [
        ([], "Received: no annotations."),
        (
            [annotation(iscrowd=1)],
            r"To read crowds .*--crowds=objects\). Received: 1 dropped: annot",
        ),
        ([annotation(segmentation=[])], r"A Faster R-CNN \(--preset=.* masks=False\) needs no"),
    ],
)
def test_no_instance_at_all_is_an_error_that_says_why(tmp_path, annotations, line):
    dataset = read(tmp_path, content(annotations))
    with pytest.raises(DataError, match=f"a.json: no instance is left to learn from.*{line}"):
        require_instances(dataset)
    require_instances(read(tmp_path, content()))


@pytest.mark.parametrize("text", ["{", "", "\x00", "[" * 100_000])
def test_an_unreadable_json_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="a.json: cannot be read as json"):
        coco_json(tmp_path, tmp_path / "a.json")


def test_a_json_that_is_missing_or_no_object_is_refused(tmp_path):
    with pytest.raises(DataError, match="b.json: cannot be read as json"):
        coco_json(tmp_path, tmp_path / "b.json")
    with pytest.raises(DataError, match="a COCO json is an object.*Received: \\[\\]."):
        read(tmp_path, [])
