import json
import re

import numpy as np
import pytest
from pictures import found

from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.viewer import objects


def written(folder, names):
    """The columns of each file, by its call."""
    calls = [(folder / name).read_text() for name in names]
    return [json.loads(re.fullmatch(r"addObjects\('(.*)'\);\n", call)[1]) for call in calls]


def test_columns_of_a_file(tmp_path):
    names = objects.write_objects(tmp_path, found(), np.array([0, 1]))
    assert names == ["0.js"]
    assert written(tmp_path, names) == [
        {
            "boxes": [50, 30, 110, 70, 200, 100, 280, 180],
            "labels": [1, 2],
            "scores": [0.9, 0.75],
            "areas": [2400, 4800],
            # Number of lines; then corners, x, y and moves of each line.
            "outlines": [
                *(1, 4, 50, 30, 60, 40, -60),
                *(2, 4, 200, 100, 80, 80, -80, 4, 220, 120, 40, 40, -40),
            ],
        }
    ]


def test_many_objects_are_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(objects, "CHUNK", 2)
    names = objects.write_objects(tmp_path, found(), np.array([0, 1, 2]))
    assert names == ["0.js", "1.js"]
    first, second = written(tmp_path, names)
    assert first["labels"] == [1, 2] and second["labels"] == [1] and second["scores"] == [0.3]


def test_boxes_alone_and_an_empty_mask(tmp_path):
    boxes = {"boxes": np.array([(1.26, 2, 3, 4)]), "labels": np.array([7])}
    (columns,) = written(tmp_path, objects.write_objects(tmp_path, boxes, np.array([0])))
    assert columns == {"boxes": [1.3, 2, 3, 4], "labels": [7]}
    empty = {**boxes, "masks": InstanceMasks([np.zeros((0, 0), bool)], [(0, 0)], (9, 9))}
    (columns,) = written(tmp_path, objects.write_objects(tmp_path, empty, np.array([0])))
    assert columns["areas"] == [0] and columns["outlines"] == [0]


def test_a_page_never_gets_nan(tmp_path):
    bad = {"boxes": np.array([(np.nan, 2, 3, 4)]), "labels": np.array([1])}
    with pytest.raises(ValueError, match="JSON"):
        objects.write_objects(tmp_path, bad, np.array([0]))
