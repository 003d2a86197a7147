"""Detections of all shapes are written, and our readers give the same masks and classes."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api
from written_objects import CLASSES, IDS, SIZE, WITHOUT_OVERLAP, found, iou, record

from keras_maskrcnn.data.coco import coco_json
from keras_maskrcnn.data.formats import READERS
from keras_maskrcnn.writers import open_writer

# writer -> reader, what it reads, options. All of them hold the masks exactly.
FORMATS = {
    "coco_json": ("coco_json", "coco.json", {}),
    "cvat": ("cvat", "cvat.xml", {}),
    "label_studio": ("label_studio", "label_studio.json", {"predictions": True}),
    "labelme": ("labelme", "labelme", {}),
    "via": ("via_json", "via.json", {"class_attribute": "class"}),
}


@pytest.fixture
def images(tmp_path):
    """A folder with one image."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


@pytest.mark.parametrize("name", FORMATS)
def test_masks_and_classes_come_back(name, tmp_path, images):
    reader, place, options = FORMATS[name]
    expected = found(WITHOUT_OVERLAP)
    with open_writer(name, tmp_path / "out", class_names=CLASSES, category_ids=IDS) as writer:
        writer.add(record("a.png", path=str(images / "a.png")), expected)
    if name == "coco_json":
        dataset = coco_json(images, tmp_path / "out" / place)
    else:
        dataset = READERS[reader](images, tmp_path / "out" / place, class_names=CLASSES, **options)
    assert dataset.file_names == ("a.png",) and not dataset.dropped
    assert dataset.class_names == CLASSES
    np.testing.assert_array_equal(dataset.labels, expected["labels"])
    for i, counts in enumerate(dataset.counts):
        read = mask_api.decode({"size": list(SIZE), "counts": counts})
        assert iou(read, expected["masks"][i]) == 1, WITHOUT_OVERLAP[i]


def test_label_images_come_back_without_their_classes(tmp_path, images):
    expected = found(WITHOUT_OVERLAP)
    with open_writer("png_labels", tmp_path / "out", class_names=CLASSES) as writer:
        writer.add(record("a.png", path=str(images / "a.png")), expected)
    dataset = READERS["mask_images"](images, tmp_path / "out" / "png_labels", class_names=["all"])
    assert dataset.file_names == ("a.png",) and not dataset.dropped
    masks = [mask_api.decode({"size": list(SIZE), "counts": counts}) for counts in dataset.counts]
    assert len(masks) == len(expected["masks"])  # in order: the number of an object is its value
    for i, mask in enumerate(masks):
        assert iou(mask, expected["masks"][i]) == 1, WITHOUT_OVERLAP[i]


def test_boxes_of_measurements_come_back(tmp_path, images):
    expected = found(WITHOUT_OVERLAP)
    with open_writer("csv", tmp_path / "out", class_names=CLASSES, category_ids=IDS) as writer:
        writer.add(record("a.png", path=str(images / "a.png")), expected)
    table = tmp_path / "out" / "measurements.csv"
    dataset = READERS["csv_boxes"](images, table, class_names=CLASSES)
    np.testing.assert_array_equal(dataset.labels, expected["labels"])
    np.testing.assert_allclose(dataset.boxes, np.asarray(expected["boxes"]), atol=0.01)
