import json
from xml.etree import ElementTree

import numpy as np
import pytest
import written_objects
from PIL import Image
from pycocotools import mask as mask_api
from written_objects import CLASSES, SIZE, record

from keras_maskrcnn.writers import open_writer


def write(folder, **found):
    with open_writer("cvat", folder, class_names=CLASSES) as writer:
        for name, objects in found.items():
            writer.add(record(f'sub/{name}.png & "b".png'), objects)
    return ElementTree.parse(folder / "cvat.xml").getroot()


def mask_as_cvat_reads_it(shape):
    """Follows `load_anno` of cvat/apps/dataset_manager/formats/cvat.py, and CVAT's masks."""
    if shape.tag == "polygon":
        points = [float(v) for pair in shape.get("points").split(";") for v in pair.split(",")]
        return mask_api.decode(mask_api.merge(mask_api.frPyObjects([points], *SIZE)))
    counts = list(map(int, shape.get("rle").split(",")))
    left, top, width, height = (int(shape.get(k)) for k in ("left", "top", "width", "height"))
    assert sum(counts) == width * height
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    mask = np.zeros(SIZE, np.uint8)
    mask[top : top + height, left : left + width] = values.reshape(height, width)
    return mask


def test_shapes_are_the_same_masks(tmp_path):
    found = written_objects.found()
    root = write(tmp_path, a=found, b=written_objects.found(()), c=found)
    images = root.findall("image")
    assert [image.get("id") for image in images] == ["0", "1", "2"]
    assert images[0].get("name") == 'sub/a.png & "b".png'
    assert (images[0].get("width"), images[0].get("height")) == ("120", "90")
    assert [len(image) for image in images] == [11, 0, 11]
    for image in images[::2]:
        np.testing.assert_array_equal(
            [mask_as_cvat_reads_it(shape) for shape in image], np.asarray(found["masks"])
        )
        assert [shape.get("label") for shape in image] == [CLASSES[i % 2] for i in range(11)]
        assert all(shape.get("occluded") == shape.get("z_order") == "0" for shape in image)
    tags = dict(zip(written_objects.REGIONS, (shape.tag for shape in images[0]), strict=True))
    assert tags["blob"] == tags["pixel"] == "polygon"
    assert tags["hole"] == tags["parts"] == tags["diagonal"] == "mask"


def test_scores_are_an_attribute_that_the_labels_define(tmp_path):
    root = write(tmp_path, a=written_objects.found())
    [attribute] = root.find("image")[0]
    assert (attribute.get("name"), attribute.text) == ("score", "0.9500")
    labels = root.findall("meta/task/labels/label")
    assert [label.findtext("name") for label in labels] == list(CLASSES)
    assert [label.findtext("attributes/attribute/name") for label in labels] == ["score"] * 2
    raw = json.loads((tmp_path / "cvat_labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in raw] == list(CLASSES)
    assert all(label["attributes"][0]["name"] == "score" for label in raw)
    assert root.findtext("version") == "1.1"


def test_characters_that_xml_cannot_hold_are_replaced(tmp_path):
    with open_writer("cvat", tmp_path, class_names=["a\x01b", "<c>"]) as writer:
        writer.add(record("a\x02\udc80.png"), written_objects.found(("blob",)))
    image = ElementTree.parse(tmp_path / "cvat.xml").getroot().find("image")
    assert (image.get("name"), image[0].get("label")) == ("a\ufffd\ufffd.png", "a\ufffdb")


def test_without_masks_there_are_boxes(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    box = write(tmp_path, a=found).find("image")[0]
    assert box.tag == "box"
    assert [float(box.get(key)) for key in ("xtl", "ytl", "xbr", "ybr")] == [4, 7, 30, 33]


@pytest.mark.slow
def test_datumaro_reads_the_same_masks(tmp_path):
    """datumaro is the library with which CVAT reads and writes data sets."""
    datumaro = pytest.importorskip("datumaro")
    found = written_objects.found()
    with open_writer("cvat", tmp_path, class_names=CLASSES) as writer:
        writer.add(record("a.png"), found)
    (tmp_path / "images").mkdir()
    Image.new("L", SIZE[::-1]).save(tmp_path / "images" / "a.png")
    dataset = datumaro.Dataset.import_from(str(tmp_path / "cvat.xml"), "cvat")
    [item] = dataset
    shapes = sorted(item.annotations, key=lambda a: -float(a.attributes["score"]))
    masks = []
    for shape in shapes:
        if hasattr(shape, "points"):
            drawn = mask_api.frPyObjects([list(shape.points)], *SIZE)
            masks.append(mask_api.decode(mask_api.merge(drawn)))
        else:
            masks.append(shape.image)
    np.testing.assert_array_equal(np.array(masks) > 0, np.asarray(found["masks"]))
