"""doctor/statistics.py: tables of the whole data set."""

import json

from doctor.faults import annotation, geometry, make, sound
from keras_maskrcnn import doctor


def test_counts_of_images_and_classes(tmp_path):
    _, report = doctor.examine(*make(tmp_path), max_instances=1)
    assert report["instances_per_image"] == {
        "min": 1,
        "median": 1.5,
        "p95": 1.95,
        "max": 2,
        "total": 3,
        "slots": 1,
        "images_over": 1,
        "instances_without_slot": 1,
    }
    assert report["classes"] == [
        {"id": 7, "name": "seven", "instances": 2, "images": 2},
        {"id": 12, "name": "twelve", "instances": 1, "images": 1},
    ]


def test_problems_of_a_kind_are_counted_with_their_first_three_ids(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["annotations"] += [annotation(f"c{i}", 10, iscrowd=1) for i in range(5)]
    path.write_text(json.dumps(content))
    _, report = doctor.examine(folder, path)
    (crowd,) = [kind for kind in report["kinds"] if kind["kind"] == "crowd"]
    assert (crowd["count"], crowd["examples"]) == (5, ["c0", "c1", "c2"])
    (line,) = [line for line in doctor.text(report).splitlines() if "crowd" in line]
    assert line.split() == ["dropped", "crowd", "5", "'c0',", "'c1',", "'c2',", "..."]


def test_sizes_are_those_after_resizing(tmp_path):
    # Boxes of 10 x 6 and 12 x 16 in 30 x 20 pixels, ten times enlarged: sizes of 77 and 139.
    options = geometry("mask_rcnn_resnet50_fpn")
    _, report = doctor.examine(*make(tmp_path), anchors=options)
    bins = report["sizes"]["bins"]
    assert [(row["from"], row["to"], row["instances"]) for row in bins] == [
        (64, 128, 2),
        (128, 256, 1),
    ]
    assert report["sizes"]["all"]["instances"] == 3
    assert all(0 <= row["recall_0.7"] <= row["recall_0.5"] <= 1 for row in bins)
