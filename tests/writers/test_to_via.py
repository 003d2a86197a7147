import json

import numpy as np
import written_objects
from PIL import Image
from pycocotools import mask as mask_api
from written_objects import CLASSES, SIZE, record

from keras_maskrcnn.data import via_json
from keras_maskrcnn.writers import open_writer


def test_our_reader_reads_the_same_masks(tmp_path):
    found = written_objects.found()
    with open_writer("via", tmp_path, class_names=CLASSES) as writer:
        for name in ("sub/a.png", "b.png", "empty.png"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.new("RGB", SIZE[::-1]).save(tmp_path / name)
            objects = written_objects.found(()) if name == "empty.png" else found
            writer.add(record(name, path=tmp_path / name), objects)
    dataset = via_json(
        tmp_path, tmp_path / "via.json", class_attribute="class", class_names=CLASSES
    )
    assert not dataset.dropped and len(dataset.file_names) == 3
    annotations = dataset.annotations["annotations"]
    assert len(annotations) == 2 * len(found["labels"])
    for i, mask in enumerate(np.asarray(found["masks"])):
        drawn = mask_api.frPyObjects(annotations[i]["segmentation"], *SIZE)
        np.testing.assert_array_equal(mask_api.decode(mask_api.merge(drawn)), mask)
        assert annotations[i]["category_id"] == found["labels"][i]


def test_images_are_known_by_name_and_size(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    with open_writer("via", tmp_path / "out", class_names=CLASSES) as writer:
        writer.add(record("a.png", path=tmp_path / "a.png"), written_objects.found(("hole",)))
        writer.add(record("b.png"), written_objects.found(()))
    content = json.loads((tmp_path / "out" / "via.json").read_text())
    assert list(content) == ["a.png5", "b.png-1"]
    assert content["a.png5"]["size"] == 5 and content["b.png-1"]["regions"] == []
    [region] = content["a.png5"]["regions"]
    assert region["region_attributes"] == {"class": "cell", "score": "0.9500"}
    assert set(region["shape_attributes"]) == {"name", "all_points_x", "all_points_y"}


def test_without_images_or_masks(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    with open_writer("via", tmp_path / "nothing"):
        pass
    assert json.loads((tmp_path / "nothing" / "via.json").read_text()) == {}
    with open_writer("via", tmp_path / "boxes") as writer:
        writer.add(record("a.png"), found)
    content = json.loads((tmp_path / "boxes" / "via.json").read_text())
    shape = content["a.png-1"]["regions"][0]["shape_attributes"]
    assert shape == {"name": "rect", "x": 4, "y": 7, "width": 26, "height": 26}
