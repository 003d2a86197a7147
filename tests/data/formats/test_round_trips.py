"""The law of data/formats: writing a format and reading it again changes nothing."""

import json
import pathlib
import runpy

import numpy as np
import pytest
import writers
from pycocotools import mask as mask_api

from keras_maskrcnn.data import formats
from keras_maskrcnn.data.coco import coco_json
from keras_maskrcnn.data.text import read_json

ROOT = pathlib.Path(__file__).resolve().parents[3]
NUCLEI = ROOT.parent / "shared" / "data" / "nuclei"
WRITERS = {
    "via_json": writers.write_via,
    "labelme": writers.write_labelme,
    "mask_images": writers.write_index_masks,
    "mask_images of instances": writers.write_instance_masks,
    "voc": writers.write_voc,
    "yolo_seg": writers.write_yolo,
    "open_images": writers.write_open_images,
    "cvat": writers.write_cvat,
    "label_studio": writers.write_label_studio,
    "panoptic": writers.write_panoptic,
}


def test_every_format_is_written_here():
    # Boxes, other classes and other folders have examples in their own tests.
    others = {"coco_json", "csv_boxes", "cityscapes", "supervisely"}
    assert {name.split()[0] for name in WRITERS} == set(formats.READERS) - others


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """Six images of examples/shapes.py: polygons and run lengths, three classes."""
    folder = tmp_path_factory.mktemp("shapes") / "shapes"
    runpy.run_path(str(ROOT / "examples" / "shapes.py"))["make_shapes"](
        folder, train=6, val=0, size=64
    )
    return folder / "train", read_json(folder / "annotations" / "train.json")


def nuclei(name, count=None):
    """Images of the nuclei, smallest first; of equal size, those with run lengths first."""
    if not NUCLEI.exists():
        pytest.skip("needs ../shared/data/nuclei")
    content = read_json(NUCLEI / "annotations" / "train.json")
    per_image = {}
    for annotation in content["annotations"]:
        per_image.setdefault(annotation["image_id"], []).append(annotation)

    def interest(image):
        annotations = per_image.get(image["id"], [])
        encoded = any(isinstance(a["segmentation"], dict) for a in annotations)
        return image["height"] * image["width"], not encoded, image["id"]

    images = sorted(content["images"], key=interest)[:count]
    # SegmentationObject of VOC has 8 bits: 254 objects, and void.
    most = 254 if name == "voc" else 999
    images = [image for image in images if len(per_image.get(image["id"], [])) <= most]
    annotations = [a for image in images for a in per_image.get(image["id"], [])]
    content |= {"images": images, "annotations": annotations}
    return NUCLEI / "train" / "images", content


def check(name, images, content, folder):
    """Writes, reads, converts and reads again; compares at each step."""
    folder.mkdir()
    annotations, options = WRITERS[name](content, images, folder)
    covering = name in ("mask_images", "voc", "panoptic")  # no pixel has two instances
    listed = {image["file_name"] for image in content["images"]}
    some_images = folder.parent / "images"
    some_images.mkdir()
    for file_name in listed:
        (some_images / file_name).symlink_to(images / file_name)
    dataset = formats.READERS[name.split()[0]](some_images, annotations, **options)

    assert dataset.dropped == {}
    assert dataset.file_names == tuple(sorted(listed))
    assert dataset.image_ids == tuple(range(1, len(listed) + 1))
    if name == "mask_images of instances":
        assert (dataset.class_names, dataset.category_ids) == (("object",), (1,))
    else:
        names = dict(sorted(writers.names_of(content).items()))
        assert dict(zip(dataset.category_ids, dataset.class_names, strict=True)) == names
    scenes = {image["file_name"]: (image, found) for image, found in writers.scenes(content)}
    for i, file_name in enumerate(dataset.file_names):
        image, expected = scenes[file_name]
        height, width = dataset.sizes[i]
        assert (height, width) == (image["height"], image["width"])
        order = range(len(expected))
        if covering:
            index = writers.indices(image, expected, np.arange(len(expected)) + 1)
            masks = np.stack([index == k + 1 for k in order], axis=-1, dtype=np.uint8)
            encoded = mask_api.encode(np.asfortranarray(masks))
        else:
            encoded = [writers.run_lengths(a["segmentation"], height, width) for a in expected]
        if name == "mask_images":  # values ascend by class, then by number
            order = sorted(order, key=lambda k: (expected[k]["category_id"], k))
        first, last = dataset.offsets[i], dataset.offsets[i + 1]
        assert last - first == len(expected)
        for k, counts in zip(order, dataset.counts[first:last], strict=True):
            read = {"size": [height, width], "counts": counts}
            assert mask_api.iou([read], [encoded[k]], [0])[0, 0] >= 0.999
        if len(dataset.category_ids) > 1:
            found = [dataset.category_ids[label - 1] for label in dataset.labels[first:last]]
            assert found == [expected[k]["category_id"] for k in order]

    converted = folder.parent / "converted.json"
    converted.write_text(json.dumps(dataset.content()))
    again = coco_json(some_images, converted)
    for field in ("image_ids", "file_names", "sizes", "category_ids", "class_names", "counts"):
        assert getattr(again, field) == getattr(dataset, field)
    assert again.annotation_ids == dataset.annotation_ids == tuple(range(1, len(again.counts) + 1))
    np.testing.assert_array_equal(again.boxes, dataset.boxes)


@pytest.mark.parametrize("name", WRITERS)
def test_shapes_come_back(name, shapes, tmp_path):
    check(name, *shapes, tmp_path / "written")


SLOW = ("cvat", "label_studio", "panoptic", "open_images")  # shapes alone, by default


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in WRITERS]
)
def test_20_images_of_nuclei_come_back(name, tmp_path):
    check(name, *nuclei(name, 20), tmp_path / "written")


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_all_nuclei_come_back(name, tmp_path):
    check(name, *nuclei(name), tmp_path / "written")


def test_a_coco_json_comes_back(shapes, tmp_path):
    images, content = shapes
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert coco_json(images, tmp_path / "a.json").content() == content
