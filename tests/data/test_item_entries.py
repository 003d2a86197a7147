"""data/item_entries.py: all forms of annotations in memory, and what is refused."""

import numpy as np
import pytest

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import NO_PIXEL
from keras_maskrcnn.data.item_entries import entries_of

SIZE = (20, 30)
SQUARE = [[4, 5], [14, 5], [14, 11], [4, 11]]
FLAT = [number for point in SQUARE for number in point]
MASK = np.zeros(SIZE, np.uint8)
MASK[5:11, 4:14] = 255


def read(names=None, **annotations):
    return entries_of(annotations, 3, SIZE, names)


@pytest.mark.parametrize(
    "outline",
    [
        {"polygons": [[FLAT]]},
        {"polygons": [[np.array(SQUARE)]]},
        {"polygons": [[SQUARE]]},
        {"polygons": [SQUARE]},
        {"polygons": [np.array(SQUARE, float)]},
        {"polygons": [[FLAT, [1, 1, 2, 2]]]},
        {"masks": MASK[None]},
        {"masks": [MASK > 0]},
        {"masks": [{"size": [20, 30], "counts": [85, *[6, 14] * 9, 6, 329]}]},
        {"masks": MASK},
        {"masks": np.int64(MASK > 0) * 70_000},
    ],
)
def test_an_outline_in_any_form_is_the_same_object(outline):
    [(entry, reasons)], outlines = read(labels=["a"], **outline)
    assert (entry["bbox"], entry["area"], entry["category_id"]) == ([4, 5, 10, 6], 60, "a")
    assert outlines and len(reasons) == (len(outline.get("polygons", [[1]])[0]) == 2)


def test_given_boxes_areas_and_crowds_are_kept():
    fields = {"boxes": [[3, 4, 15, 12]], "area": [50.5], "iscrowd": np.array([True])}
    [(entry, _)], outlines = read(labels=np.array([7]), masks=[MASK], image_id=4, **fields)
    assert (entry["bbox"], entry["area"], entry["iscrowd"]) == ([3, 4, 12, 8], 50.5, 1)
    assert outlines and type(entry["category_id"]) is int and type(entry["iscrowd"]) is int
    [(entry, _)], outlines = read({5: "a"}, boxes=np.float32([[1, 2, 4, 6]]))
    assert (entry["category_id"], entry["area"], outlines) == (5, 12, False)


def test_an_image_may_be_empty_and_a_mask_too():
    for empty in ({"boxes": []}, {"masks": np.zeros((0, 20, 30), bool)}, {"masks": MASK * 0}):
        assert read(labels=[], **empty)[0] == []
    assert read(labels=["a"], masks=[MASK * 0])[0] == [(None, [NO_PIXEL])]


def test_values_of_a_label_image_have_classes():
    index = np.zeros(SIZE, np.int32)
    index[:5, :5], index[9:, 9:] = 9, 2
    for labels in ({9: "a", 2: "b", 4: "c"}, ["b", "a"]):
        assert [entry["category_id"] for entry, _ in read(labels=labels, masks=index)[0]] == [
            "b",
            "a",
        ]
    with pytest.raises(DataError, match="image 3: every value .* Received: value=2"):
        read(labels={9: "a"}, masks=index)


@pytest.mark.parametrize(
    ("annotations", "line"),
    [
        ({"mask": [MASK]}, "image 3: annotations must have boxes, or .* Received: labels, mask"),
        ({"masks": [MASK], "polygons": [[FLAT]]}, "must have boxes, or masks or polygons"),
        ({}, "annotations must have boxes, masks or polygons. Received: labels"),
        ({"boxes": [[1, 2, 3]]}, r"image 3: boxes must be \(n, 4\)"),
        (
            {"boxes": [[1, 2, 3, 4]] * 2},
            "every instance needs one of each. Received: 2 boxes, 1 lab",
        ),
        ({"boxes": [[1, 2, 3, 4]], "labels": None}, "image 3: labels are missing"),
        ({"boxes": [[1, 2, 3, 4]], "labels": {1: "a"}}, "labels may be a dict for a label image"),
        ({"boxes": [[1, 2, 3, np.inf]]}, "image 3, instance 0: a box must be"),
        ({"masks": [MASK[:9]]}, "instance 0: a mask must have the size of its image, width=30"),
        ({"masks": [MASK / 255]}, "instance 0: a mask must be .* dtype=float64"),
        ({"masks": MASK / 255}, "image 3: masks must be .* dtype=float64"),
        (
            {"masks": [MASK + np.eye(20, 30, dtype=np.uint8)]},
            "a label image is passed as one array",
        ),
        (
            {"masks": [{"size": [2, 2], "counts": [4]}]},
            "instance 0: segmentation must have the image",
        ),
        ({"polygons": [["x"]]}, "image 3, instance 0: segmentation must be"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [True]}, "a label must be an id or a name"),
    ],
)
def test_what_cannot_be_right_is_refused_in_one_line(annotations, line):
    with pytest.raises(DataError, match=line):
        read(**{"labels": ["a"], **annotations})


def test_annotations_must_be_a_dict():
    with pytest.raises(DataError, match="image 3: annotations must be a dict. Received: list"):
        entries_of([], 3, SIZE, None)
