"""doctor/repairs.py: every fault of the corpus is repaired, and each change is listed."""

import copy
import json

import pytest

from doctor.faults import CORPUS, HOPELESS, SQUARE, broken, errors, load_all, make, sound
from keras_maskrcnn import doctor
from keras_maskrcnn.data import coco, coco_checks
from keras_maskrcnn.data.errors import DataError


@pytest.mark.parametrize("name", [None, *CORPUS])
def test_the_repaired_copy_raises_nothing_and_drops_nothing_but_crowds(tmp_path, name):
    folder, path = make(tmp_path, name)
    found, _ = doctor.examine(folder, path)
    if name in HOPELESS:
        with pytest.raises(DataError, match="too little can be used for a repaired copy"):
            doctor.repair(found)
        return
    before = copy.deepcopy(found.content)
    content, actions = doctor.repair(found)
    assert json.dumps(found.content) == json.dumps(before)
    assert content["info"] == {"year": 2017}
    (tmp_path / "fixed.json").write_text(json.dumps(content))
    dataset = load_all(folder, tmp_path / "fixed.json")
    assert set(dataset.dropped) <= {coco_checks.CROWD}
    again, _ = doctor.examine(folder, tmp_path / "fixed.json")
    assert doctor.repair(again) == (content, [])
    left = {"two images of one file", "two categories of one name", "rare class", "crowd"}
    left |= {"category without instances", "image without instances", "same instance twice"}
    assert {p.kind for p in again.problems} <= left
    assert bool(actions) == bool(name and {p.kind for p in found.problems} - left)


@pytest.mark.parametrize(
    ("name", "fields", "action"),
    [
        ("no bbox", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("NaN in box", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box of zero", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box too large", {"bbox": [4, 5, 10, 6]}, "annotation 3: bbox is now the mask's extent"),
        ("box sticks out", {"bbox": [4, 5, 10, 15]}, "annotation 3: bbox is now clipped"),
        ("area of the image", {"area": 60}, "annotation 3: area is now that of the mask"),
        ("few points beside", {"segmentation": SQUARE}, "annotation 3: 1 polygons of fewer than"),
        ("annotation id twice", {"id": 3}, "annotation 1: id is now 3"),
        ("annotation without id", {"id": 3}, "annotation 1.5: id is now 3"),
        ("empty mask", None, "annotation 3: removed, because it has no usable mask"),
        ("unknown category", None, "annotation 3: removed"),
        ("missing image", None, "image 10: removed, with 1 annotations"),
    ],
)
def test_what_a_repair_does_and_says(tmp_path, name, fields, action):
    found, _ = doctor.examine(*make(tmp_path, name))
    content, actions = doctor.repair(found)
    assert any(line.startswith(action) for line in actions), actions
    if fields is None:
        assert [a["id"] for a in content["annotations"]] == [1, 2]
    else:
        assert content["annotations"][2].items() >= fields.items()
    assert content["annotations"][:2] == sound()["annotations"][:2]


def test_a_copy_without_any_object_is_refused(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    for entry in content["annotations"]:
        entry["segmentation"] = []
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    expected = (
        "too little .* repaired copy: .*no instance is left.*needs no masks. Received: 3 dropped"
    )
    with pytest.raises(DataError, match=expected):
        doctor.repair(found)


def test_a_copy_that_would_lose_every_annotation_is_refused_and_says_of_what(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    for entry in content["annotations"]:
        entry["category_id"] = "eight"
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    with pytest.raises(DataError, match="Received: 3 dropped: unknown category."):
        doctor.repair(found)


@pytest.mark.parametrize(
    ("changes", "fields", "actions"),
    [
        ({"segmentation": ...}, {"bbox": [4, 5, 10, 6]}, 0),
        ({"segmentation": []}, {"bbox": [4, 5, 10, 6]}, 0),
        ({"segmentation": "mask.png"}, {"bbox": [4, 5, 10, 6], "segmentation": []}, 1),
        ({"segmentation": [], "bbox": [4, 5, 10, 45]}, {"bbox": [4, 5, 10, 15]}, 1),
        ({"bbox": None}, {"bbox": [4, 5, 10, 6]}, 1),
        ({"bbox": None, "segmentation": []}, None, 1),
    ],
)
def test_boxes_alone_are_repaired_where_masks_are_not_needed(tmp_path, changes, fields, actions):
    folder, path = make(tmp_path)
    content = sound()
    broken(**changes)(content, folder)
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path, masks=False)
    repaired, done = doctor.repair(found)
    if fields is None:
        assert len(repaired["annotations"]) == 2
    else:
        assert repaired["annotations"][2].items() >= fields.items()
    assert len(done) == actions, done
    path.write_text(json.dumps(repaired))
    dataset = coco.coco_json(folder, path, masks=False)
    assert dataset.dropped == {} and not errors(doctor.examine(folder, path, masks=False)[0])


def test_what_goes_is_named_beside_an_error_that_is_about_no_image(tmp_path):
    folder, path = make(tmp_path, None)
    content = sound()
    content["annotations"][2]["image_id"] = 999
    content["categories"].append({"name": "without id"})
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    assert found.bad_images() == set()
    repaired, actions = doctor.repair(found)
    assert [a["id"] for a in repaired["annotations"]] == [1, 2]
    assert "annotation 3: removed" in actions
