import base64
import io
import json
import os

import numpy as np
import pytest
import written_objects
from PIL import Image
from pycocotools import mask as mask_api
from written_objects import CLASSES, REGIONS, SIZE, record

from keras_maskrcnn.data import labelme
from keras_maskrcnn.writers import open_writer

# What labelme's LabelFile of version 5.5 asserts of a shape, from labelme/_label_file.py.
REQUIRED = {"label": str, "points": list, "shape_type": str, "flags": dict, "description": str}
KINDS = {"polygon", "rectangle", "mask"}


def check_as_labelme_does(content):
    """Checks what labelme 5.5 checks when it opens a json."""
    for key in ("version", "imageData", "imagePath", "shapes", "flags"):
        assert key in content
    assert all(type(content[key]) is int for key in ("imageHeight", "imageWidth"))
    for shape in content["shapes"]:
        for key, kind in REQUIRED.items():
            assert type(shape[key]) is kind
        assert shape["shape_type"] in KINDS
        assert shape["points"] and all(
            type(point) is list and len(point) == 2 and all(type(v) in (int, float) for v in point)
            for point in shape["points"]
        )
        assert shape["group_id"] is None or type(shape["group_id"]) is int
        assert all(type(key) is str and type(flag) is bool for key, flag in shape["flags"].items())
        if shape["shape_type"] == "mask":
            mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
            (x1, y1), (x2, y2) = shape["points"]
            assert mask.shape == (y2 - y1 + 1, x2 - x1 + 1)


@pytest.fixture
def written(tmp_path):
    found = written_objects.found()
    for name in ("sub/a.png", "b.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(path)
    with open_writer("labelme", tmp_path / "out", class_names=CLASSES) as writer:
        writer.add(record("sub/a.png", path=tmp_path / "images" / "sub" / "a.png"), found)
        writer.add(record("b.png"), found)
    return found, tmp_path / "out" / "labelme", tmp_path / "images"


def test_labelme_would_open_it(written):
    _, folder, images = written
    content = json.loads((folder / "sub" / "a.json").read_text(encoding="utf-8"))
    check_as_labelme_does(content)
    image = os.path.join(folder / "sub", content["imagePath"])
    assert os.path.samefile(image, images / "sub" / "a.png")
    content = json.loads((folder / "b.json").read_text(encoding="utf-8"))
    check_as_labelme_does(content)
    assert content["imagePath"] == "b.png"


def test_our_reader_reads_the_same_masks(written):
    found, folder, images = written
    dataset = labelme(images, folder, class_names=CLASSES)
    assert not dataset.dropped
    annotations = dataset.annotations["annotations"]
    assert len(annotations) == 2 * len(found["labels"])
    for first in (0, len(found["labels"])):
        for i, mask in enumerate(np.asarray(found["masks"])):
            annotation = annotations[first + i]
            segmentation = annotation["segmentation"]
            if isinstance(segmentation, list):
                segmentation = mask_api.merge(mask_api.frPyObjects(segmentation, *SIZE))
            np.testing.assert_array_equal(mask_api.decode(segmentation), mask)
            assert annotation["category_id"] == found["labels"][i]


def test_parts_are_a_group_and_holes_a_mask(written):
    _, folder, _ = written
    shapes = json.loads((folder / "b.json").read_text(encoding="utf-8"))["shapes"]
    groups = [shape["group_id"] for shape in shapes if shape["group_id"] is not None]
    diagonal = list(REGIONS).index("diagonal") + 1
    assert groups == [diagonal] * 6
    assert sum(shape["shape_type"] == "mask" for shape in shapes) == 4
    assert shapes[0]["score"] == pytest.approx(0.95) and shapes[0]["description"] == "score 0.950"


def test_images_of_one_stem_have_their_own_files(tmp_path):
    with open_writer("labelme", tmp_path) as writer:
        for name in ("a.jpg", "a.png", "sub/a.png"):
            writer.add(record(name), written_objects.found(("blob",)))
    paths = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.json"))
    assert paths == ["labelme/a.json", "labelme/a.png.json", "labelme/sub/a.json"]
    named = [json.loads((tmp_path / path).read_text())["imagePath"] for path in paths]
    assert named == ["a.jpg", "a.png", "sub/a.png"]


def test_without_masks_there_are_rectangles(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    with open_writer("labelme", tmp_path) as writer:
        writer.add(record("a.png"), found)
    content = json.loads((tmp_path / "labelme" / "a.json").read_text())
    check_as_labelme_does(content)
    assert content["shapes"][0]["points"] == [[4, 7], [30, 33]]


@pytest.mark.slow
def test_labelme_itself_opens_it(written, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    module = pytest.importorskip("labelme._label_file")
    found, folder, _ = written
    shapes = module.LabelFile(str(folder / "sub" / "a.json")).shapes
    assert len({(s["group_id"], s["group_id"] or i) for i, s in enumerate(shapes)}) == len(
        found["labels"]
    )
    assert shapes[0]["other_data"] == {"score": pytest.approx(0.95)}
