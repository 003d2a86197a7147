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


@pytest.mark.parametrize("name", FORMATS)
def test_masks_and_classes_come_back(name, tmp_path):
    reader, place, options = FORMATS[name]
    expected, images = found(WITHOUT_OVERLAP), tmp_path / "images"
    images.mkdir()
    Image.new("RGB", SIZE[::-1]).save(images / "a.png")
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
