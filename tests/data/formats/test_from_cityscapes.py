"""data/formats/from_cityscapes.py, on files in the layout of gtFine."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import cityscapes, from_cityscapes

STEM = "ulm/ulm_000001_000019"


def square(x1, y1, x2, y2):
    """The polygon of these pixels, as cityscapesScripts fills it: the last ones are included."""
    return [[x1, y1], [x2 - 1, y1], [x2 - 1, y2 - 1], [x1, y2 - 1]]


OBJECTS = [
    {"label": "road", "polygon": square(0, 0, 30, 20)},
    {"label": "car", "polygon": square(4, 5, 14, 11)},
    {"label": "caravan", "polygon": square(0, 15, 4, 20)},
    {"label": "persongroup", "polygon": square(20, 12, 30, 20)},
    {"label": "license plate", "polygon": square(5, 6, 7, 8)},
    {"label": "person", "polygon": square(9, 5, 14, 20)},
    {"label": "car", "polygon": square(20, 0, 25, 4), "deleted": 1},
    {"label": "pole", "polygon": square(4, 9, 30, 11)},
]


@pytest.fixture
def folders(images, tmp_path):
    """Folders of one image and of its polygons."""
    gt = tmp_path / "gtFine"
    for folder in (images / "ulm", gt / "ulm"):
        folder.mkdir(parents=True)
    (images / "a.png").rename(images / f"{STEM}_leftImg8bit.png")
    write(gt)
    return images, gt


def write(gt, objects=OBJECTS, **changes):
    entry = {"imgHeight": 20, "imgWidth": 30, "objects": objects, **changes}
    (gt / f"{STEM}_gtFine_polygons.json").write_text(json.dumps(entry))


def test_polygons_cover_those_before_them(folders, masks_of, box):
    dataset = cityscapes(*folders, crowds="ignore")
    person, car = box(9, 5, 14, 20), box(4, 5, 14, 11)
    car[:, 9:], person[9:11], car[9:] = 0, 0, 0
    np.testing.assert_array_equal(masks_of(dataset), [person, car])
    assert dataset.category_ids == (24, 25, 26, 27, 28, 31, 32, 33)
    assert [dataset.class_names[label - 1] for label in dataset.labels] == ["person", "car"]
    np.testing.assert_array_equal(dataset.ignored[0], [[20, 12, 30, 20]])  # the group
    assert dataset.file_names == (f"{STEM}_leftImg8bit.png",)
    assert dataset.dropped == {from_cityscapes.NO_ANNOTATION: 1}  # b.jpg


def test_instance_ids_are_read_as_they_are(folders, masks_of, box):
    index = np.full((20, 30), 7, np.int32)
    index[5:11, 4:14], index[0, :5], index[0, 5:9] = 26001, 29000, 26
    file = folders[1] / f"{STEM}_gtFine_instanceIds.png"
    Image.fromarray(index.astype(np.uint16)).save(file)
    dataset = cityscapes(*folders)
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11)])
    assert dataset.dropped["annotation with iscrowd=1"] == 1
    names = {26: "car", 29: "caravan"}
    assert cityscapes(*folders, class_names=names).labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"imgHeight": 21}, "a mask must have the size of its image, .* height=21"),
        ({"objects": None}, "a json of Cityscapes has imgHeight, imgWidth and objects"),
        ({"objects": [{"label": 3}]}, "object 0: an object has a label"),
        ({"objects": [{"label": "car", "polygon": [[1, 2, 3]]}]}, "at least two .x, y."),
        ({"objects": [{"label": "car", "polygon": [[1, 2], [1, 1e9]]}]}, "object 0: polygon must"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(folders, changes, line):
    write(folders[1], **changes)
    with pytest.raises(DataError, match=line):
        cityscapes(*folders)


def test_folders_that_do_not_belong_together_are_refused(images, tmp_path):
    (tmp_path / "gt").mkdir()
    with pytest.raises(DataError, match="no _polygons.json or _instanceIds.png belongs to an ima"):
        cityscapes(images, tmp_path / "gt")
