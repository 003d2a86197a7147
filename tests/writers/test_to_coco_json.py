import json

import numpy as np
import pytest
import shapely
import written_objects
from PIL import Image
from pycocotools.coco import COCO
from written_objects import CLASSES, IDS, SIZE, record

from keras_maskrcnn.data import coco_json
from keras_maskrcnn.writers import open_writer


@pytest.fixture
def written(tmp_path):
    found = written_objects.found()
    with open_writer("coco_json", tmp_path, class_names=CLASSES, category_ids=IDS) as writer:
        writer.add(record("empty.png"), {**written_objects.found(()), "labels": []})
        writer.add(record("sub/a.png"), found)
        writer.add(record("b.png"), found)
    return found, tmp_path / "coco.json"


def test_pycocotools_reads_the_same_masks(written):
    found, path = written
    coco = COCO(str(path))
    assert [image["file_name"] for image in coco.loadImgs([1, 2, 3])] == [
        *("empty.png", "sub/a.png", "b.png")
    ]
    assert {c["id"]: c["name"] for c in coco.dataset["categories"]} == dict(
        zip(IDS, CLASSES, strict=True)
    )
    assert coco.getAnnIds(imgIds=[1]) == []
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[2]))
    masks = [coco.annToMask(annotation) for annotation in annotations]
    np.testing.assert_array_equal(masks, np.asarray(found["masks"]))
    assert [a["score"] for a in annotations] == found["scores"].tolist()
    assert [a["area"] for a in annotations] == found["masks"].areas().tolist()
    assert len(coco.anns) == 2 * len(annotations)


def test_only_objects_with_holes_are_run_lengths(written):
    _, path = written
    annotations = json.loads(path.read_text())["annotations"][: len(written_objects.REGIONS)]
    kinds = {
        name: type(a["segmentation"])
        for name, a in zip(written_objects.REGIONS, annotations, strict=True)
    }
    holes = [name for name, kind in kinds.items() if kind is dict]
    assert holes == ["hole", "parts", "two holes", "touching corner hole"]


def test_our_reader_trains_on_it(written):
    found, path = written
    for name in ("empty.png", "sub/a.png", "b.png"):
        (path.parent / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(path.parent / name)
    dataset = coco_json(path.parent, path)
    assert dataset.class_names == list(CLASSES) or tuple(dataset.class_names) == CLASSES
    assert sum(dataset.num_instances) == 2 * len(found["labels"])
    assert not dataset.dropped


def test_in_images_that_pycocotools_cannot_count_holes_are_joined_to_the_outline(tmp_path):
    size = 2**16, 2**16
    found = written_objects.found(("hole",), size)
    with open_writer("coco_json", tmp_path) as writer:
        writer.add(record(size=size), found)
    [annotation] = json.loads((tmp_path / "coco.json").read_text())["annotations"]
    [polygon] = annotation["segmentation"]
    ring = shapely.Polygon(np.reshape(polygon, (-1, 2)))
    assert ring.area == annotation["area"] == found["masks"].areas()[0]


def test_without_masks_there_are_boxes(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    with open_writer("coco_json", tmp_path) as writer:
        writer.add(record(), found)
    annotation = json.loads((tmp_path / "coco.json").read_text())["annotations"][0]
    assert annotation["bbox"] == [4, 7, 26, 26] and annotation["area"] == 676
    assert "segmentation" not in annotation
