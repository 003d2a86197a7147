import json

import numpy as np
import pytest
import written_objects
from pycocotools import mask as mask_api
from written_objects import CLASSES, IDS, record

from keras_maskrcnn.writers import open_writer


def test_results_are_those_of_coco(tmp_path):
    found = written_objects.found()
    with open_writer("rle", tmp_path, category_ids=IDS) as writer:
        writer.add(record("sub/a.png"), found)
        writer.add(record("b.png"), found)
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert [r["file_name"] for r in results] == ["sub/a.png"] * 11 + ["b.png"] * 11
    assert [r["category_id"] for r in results[:3]] == [3, 7, 3]
    assert [r["score"] for r in results[:11]] == found["scores"].tolist()
    x1, y1, x2, y2 = found["boxes"][0].tolist()
    assert results[0]["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    masks = [mask_api.decode(r["segmentation"]) for r in results[:11]]
    np.testing.assert_array_equal(masks, np.asarray(found["masks"]))


def test_without_objects_the_list_is_empty(tmp_path):
    with open_writer("rle", tmp_path):
        pass
    assert json.loads((tmp_path / "predictions.json").read_text()) == []


def test_without_masks_there_are_boxes(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    with open_writer("rle", tmp_path, class_names=CLASSES) as writer:
        writer.add(record(size=(2**16, 2**16)), found)
    results = json.loads((tmp_path / "predictions.json").read_text())
    assert set(results[0]) == {"file_name", "category_id", "bbox", "score"}


def test_images_that_pycocotools_cannot_count_are_refused(tmp_path):
    size = 2**16, 2**16
    found = written_objects.found(size=size)
    with (
        pytest.raises(ValueError, match=r"a.png: .* end at 4294967295 pixels; geojson holds"),
        open_writer("rle", tmp_path) as writer,
    ):
        writer.add(record(size=size), found)
