"""data/formats/from_panoptic.py, on a json and PNG files in COCO's layout."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import from_panoptic, panoptic

CATEGORIES = [
    {"id": 1, "name": "person", "supercategory": "person", "isthing": 1},
    {"id": 18, "name": "dog", "supercategory": "animal", "isthing": 1},
    {"id": 199, "name": "wall-other-merged", "supercategory": "wall", "isthing": 0},
]
BIG = 3 + 256 * 5 + 65536 * 7  # an id that needs all three colors


def segment(identity, category, crowd=0):
    return {"id": identity, "category_id": category, "iscrowd": crowd, "bbox": [], "area": 1}


def write(folder, segments=None, categories=CATEGORIES, **changes):
    """Writes two overlapping boxes, a crowd and a wall, as in panoptic_val2017.json."""
    index = np.full((20, 30), 40)
    index[5:11, 4:14], index[2:4, 20:30], index[15:, :5] = BIG, 70, 255
    (folder / "panoptic").mkdir(exist_ok=True)
    colors = np.stack([index % 256, index // 256 % 256, index // 65536], axis=-1)
    Image.fromarray(colors.astype(np.uint8)).save(folder / "panoptic" / "a.png")
    if segments is None:
        segments = [segment(40, 199), segment(BIG, 18), segment(70, 1), segment(255, 1, crowd=1)]
    image = {"id": 9, "file_name": "a.png", "height": 20, "width": 30}
    annotation = {"image_id": 9, "file_name": "a.png", "segments_info": segments, **changes}
    content = {"images": [image], "annotations": [annotation], "categories": categories}
    (folder / "panoptic.json").write_text(json.dumps(content))
    return folder / "panoptic.json"


def test_things_are_instances_and_stuff_is_counted(images, tmp_path, masks_of, box):
    dataset = panoptic(images, write(tmp_path))
    assert (dataset.class_names, dataset.category_ids) == (("person", "dog"), (1, 18))
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11), box(20, 2, 30, 4)])
    assert dataset.labels.tolist() == [2, 1]
    assert dataset.dropped == {from_panoptic.STUFF: 1, "annotation with iscrowd=1": 1}
    ignoring = panoptic(images, write(tmp_path), crowds="ignore")
    np.testing.assert_array_equal(ignoring.ignored[0], [[0, 15, 5, 20]])


def test_names_and_the_folder_can_be_given(images, tmp_path):
    path = write(tmp_path)
    (tmp_path / "panoptic").rename(tmp_path / "elsewhere")
    dataset = panoptic(
        images, path, masks_folder=tmp_path / "elsewhere", class_names=["human", "hound"]
    )
    assert (dataset.class_names, dataset.category_ids) == (("human", "hound"), (1, 18))


def test_images_without_an_annotation_are_counted(images, tmp_path):
    content = json.loads(write(tmp_path).read_text())
    content["images"].append({"id": 10, "file_name": "b.jpg", "height": 20, "width": 30})
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    dataset = panoptic(images, tmp_path / "panoptic.json")
    assert dataset.file_names == ("a.png",) and dataset.dropped[from_panoptic.NO_SEGMENTS] == 1


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"segments": [segment(40, 5)]}, "segment 40: a segment has an id and a category_id"),
        ({"segments": [segment("x", 1)]}, "segment 'x': a segment has an id"),
        ({"segments": [segment(41, 1)]}, "segment 41: the PNG must have pixels of it"),
        ({"segments_info": 3}, "image 9: segments_info must be a list of objects.*=3"),
        ({"image_id": 8}, "image_id of an image that has no other one. Received: image_id=8"),
        ({"file_name": "../a.png"}, "file_name must lie inside the folder"),
        ({"file_name": "b.png"}, "b.png: image file does not exist"),
        ({"categories": 3}, "a panoptic json of COCO has a list of objects 'categories'"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(images, tmp_path, changes, line):
    with pytest.raises(DataError, match=line):
        panoptic(images, write(tmp_path, **changes))
