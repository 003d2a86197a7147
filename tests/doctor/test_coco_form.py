"""doctor/coco_form.py: unambiguous values are converted to COCO's form."""

import json

import pytest

from doctor.faults import HEIGHT, SQUARE, WIDTH, broken, changed, errors, make, sound
from keras_maskrcnn import doctor
from keras_maskrcnn.data import coco_checks

TRIANGLE = [4, 5, 14, 5, 14, 11]


UNITED = coco_checks.read_segmentation(SQUARE, HEIGHT, WIDTH, "")[0].decode()


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        (broken(image_id="10"), {"image_id": 10}),
        (broken(image_id=" 10.0"), {"image_id": 10}),
        (broken(image_id="10.png"), {"image_id": 10}),
        (broken(category_id="7"), {"category_id": 7}),
        (broken(category_id=" seven"), {"category_id": 7}),
        (broken(iscrowd="0"), {"iscrowd": 0}),
        (broken(iscrowd="false"), {"iscrowd": 0}),
        (broken(id=3.0), {"id": 3}),
        (broken(bbox=["4", "5.0", "10", 6]), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox="[4, 5, 10, 6]"), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox=[[4, 5, 10, 6]]), {"bbox": [4, 5, 10, 6]}),
        (broken(bbox={"y": 5, "x": "4", "width": 10, "height": 6}), {"bbox": [4, 5, 10, 6]}),
        (broken(area="60"), {"area": 60}),
        (broken(segmentation=SQUARE[0]), {"segmentation": SQUARE}),
        (broken(segmentation=[str(x) for x in SQUARE[0]]), {"segmentation": SQUARE}),
        (broken(segmentation=[[str(x) for x in SQUARE[0]]]), {"segmentation": SQUARE}),
        (broken(segmentation=json.dumps(SQUARE)), {"segmentation": SQUARE}),
        (broken(segmentation=[SQUARE]), {"segmentation": SQUARE}),
        (broken(segmentation=[[4, 5], [14, 5], [14, 11]]), {"segmentation": [TRIANGLE]}),
        (broken(segmentation=[["4", 5], [14, 5], [14, 11]]), {"segmentation": [TRIANGLE]}),
        (broken(segmentation=[[[4, 5], [14, 5], [14, 11]]]), {"segmentation": [TRIANGLE]}),
        (
            broken(segmentation=[{"x": 4, "y": 5}, {"x": 14, "y": 5}, {"x": 14, "y": 11}]),
            {"segmentation": [TRIANGLE]},
        ),
        (
            broken(segmentation=[{"size": [20, 30], "counts": UNITED}]),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation=[{"size": [20, 30], "counts": UNITED}] * 2),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation={"counts": UNITED}),
            {"segmentation": {"size": [20, 30], "counts": UNITED}},
        ),
        (
            broken(segmentation={"size": ["20", 30.0], "counts": ["100", 500.0]}),
            {"segmentation": {"size": [20, 30], "counts": [100, 500]}},
        ),
        (changed("images", 1, height=..., width=...), {"image_id": 10}),
        (changed("images", 1, height="20", width=30.0), {"image_id": 10}),
        (changed("images", 1, id=10.0), {"image_id": 10}),
        (changed("categories", 0, id="7"), {"category_id": 7}),
        (broken(iscrowd=1, bbox=None), {"bbox": [4, 5, 10, 6], "iscrowd": 1}),
    ],
)
def test_what_can_mean_one_thing_only_is_mended(tmp_path, fault, fields):
    folder, path = make(tmp_path)
    content = sound()
    fault(content, folder)
    path.write_text(json.dumps(content))
    found, _ = doctor.examine(folder, path)
    repaired, actions = doctor.repair(found)
    assert len(repaired["annotations"]) == 3 and actions
    assert len(found.file_names) == len(content["images"])  # the examined content is unchanged
    mended = {name: repaired["annotations"][2][name] for name in fields}
    assert mended == fields
    assert repaired["images"] == sound()["images"]
    path.write_text(json.dumps(repaired))
    again, _ = doctor.examine(folder, path)
    assert not errors(again) and doctor.repair(again) == (repaired, [])


@pytest.mark.parametrize(
    "fault",
    [
        changed("images", 1, height="19"),  # the file has another height
        broken(segmentation=[4, 5, 14, 5, 14]),
        broken(segmentation=[["4", "x", 14, 5, 14, 11]]),
        broken(segmentation="[4, 5"),
        broken(category_id="eight"),
        broken(bbox=["a", 1, 2, 3], segmentation=[]),
    ],
)
def test_what_is_ambiguous_is_not_guessed(tmp_path, fault):
    folder, path = make(tmp_path)
    content = sound()
    fault(content, folder)
    path.write_text(json.dumps(content))
    repaired, _ = doctor.repair(doctor.examine(folder, path)[0])
    assert [a["id"] for a in repaired["annotations"]] == [1, 2]


def test_names_that_are_numbers_are_not_taken_for_ids(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"] = [{"id": 7, "name": "12"}, {"id": 12, "name": "0"}]
    content["annotations"][2]["category_id"] = "0"
    path.write_text(json.dumps(content))
    repaired, _ = doctor.repair(doctor.examine(folder, path)[0])
    assert [a["id"] for a in repaired["annotations"]] == [1, 2]
