"""data/coco_reader.py: reading in chunks and one by one gives the same result."""

import json

import numpy as np
import pytest
from outlines import extent, shapes
from PIL import Image

from keras_maskrcnn.data import coco, coco_checks, coco_reader
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.polygons import draw


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_annotations_read_at_once_are_as_those_read_one_by_one(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    sides = [(40, 60), (25, 25), (90, 30)]
    images = []
    for i, (height, width) in enumerate(sides):
        Image.new("L", (width, height)).save(tmp_path / f"{i}.png")
        images.append({"id": 9 - i, "file_name": f"{i}.png", "height": height, "width": width})
    annotations = []
    for i in range(300):
        image = int(rng.integers(3))
        (outline,) = shapes(rng, 1, *sides[image])
        x1, y1, x2, y2 = extent(outline).tolist()
        entry = {
            "id": f"a{i}" if i % 7 == 0 else i,
            "image_id": 9 - image,
            "category_id": 1 + i % 2,
        }
        entry["bbox"] = [x1 - i % 3, y1, x2 - x1, (y2 - y1) * (i % 5 > 0)]
        entry["segmentation"] = [list(part) for part in outline]
        entry["iscrowd"] = [0, 0, 0, None, 1][i % 5]
        if i % 11 == 0:
            entry["segmentation"][0] = [1, 2, 3, 4]
        if i % 13 == 0:
            counts = draw(outline, *sides[image]).decode()
            entry["segmentation"] = {"size": list(sides[image]), "counts": counts}
        if i % 17 == 0:
            entry["bbox"] = [0, 0, 3, 3]
        annotations.append(entry)
    content = {"images": images, "annotations": annotations}
    content["categories"] = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    monkeypatch.setattr(coco_reader, "AT_ONCE", 64)
    at_once = [coco.coco_json(tmp_path, path), coco.coco_dict(tmp_path, content)]
    none = np.zeros(0, int), np.zeros([0, 4]), np.zeros(0, int), []
    monkeypatch.setattr(
        coco_reader, "read_regular", lambda chunk, *_: (np.zeros(len(chunk), bool), *none)
    )
    one_by_one = coco.coco_json(tmp_path, path)
    assert one_by_one.dropped.keys() == {
        coco_checks.CROWD,
        coco_checks.NO_AREA,
        coco_checks.NO_POLYGON,
        coco_checks.NO_MASK,
        coco_checks.FEW_POINTS,
    }
    for dataset in at_once:
        for name in ("boxes", "labels", "offsets"):
            ours, theirs = getattr(dataset, name), getattr(one_by_one, name)
            np.testing.assert_array_equal(ours, theirs)
            assert ours.dtype == theirs.dtype
        for name in ("annotation_ids", "dropped", "examples", "image_ids", "sizes"):
            assert getattr(dataset, name) == getattr(one_by_one, name)
        assert dataset.counts == one_by_one.counts


def test_lines_of_errors_show_numbers_as_the_file_has_them(tmp_path):
    Image.new("L", (30, 20)).save(tmp_path / "0.png")
    entry = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 2, 1, 2, 2]]}
    content = {
        "images": [{"id": 1, "file_name": "0.png", "height": 20, "width": 30}],
        "annotations": [{**entry, "bbox": [1, 2, 3]}],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"Received: bbox=\[1, 2, 3\]\."):
        coco.coco_json(tmp_path, tmp_path / "a.json")
