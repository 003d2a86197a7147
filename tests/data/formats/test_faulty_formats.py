"""Every fault in a format is refused in one line that names file, place and value."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import READERS

SQUARE = [[4, 5], [14, 5], [14, 11], [4, 11]]
POLYGON = {"name": "polygon", "all_points_x": [4, 14, 14], "all_points_y": [5, 5, 11]}
ROW = "0.1 0.25 0.5 0.25 0.5 0.5"
EMPTY = np.zeros((20, 30), np.uint8)


def via(shape=POLYGON, name="a.png", **attributes):
    region = {"shape_attributes": shape, "region_attributes": attributes}
    return {"via.json": {name: {"filename": name, "regions": [region]}}}


def labelme(name="a.png", **changes):
    shape = {"label": "cell", "shape_type": "polygon", "points": SQUARE, "group_id": None}
    return {"a.json": {"imagePath": name, "shapes": [{**shape, **changes}]}}


def jpeg():
    file = io.BytesIO()
    Image.fromarray(EMPTY).save(file, "JPEG")
    return file.getvalue()


def png(pixels):
    return tf.io.encode_png(pixels).numpy()


ELLIPSE = {"name": "ellipse", "cx": 5, "cy": 5, "rx": 3, "ry": 10**400}
TICKS = {"cat": True, "dog": True}
KIND = {"class_attribute": "kind"}
NAMES = {"class_names": ["cat"]}
MASK = {"shape_type": "mask", "points": [[4, 5], [13, 10]]}
ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8)

# Formats whose own test files have their faults.
OWN_FILES = {"csv_boxes", "cvat", "label_studio", "panoptic", "cityscapes", "supervisely"}
OWN_FILES |= {"open_images"}

FAULTS = [
    # format, files of the folder of annotations, options, line
    ("via_json", {"via.json": [1]}, {}, r"via.json: a json of VIA 1 or 2 .* Received: \[1\]."),
    ("via_json", {"via.json": {"images": []}}, {}, "has a filename and regions for each file"),
    ("via_json", {"via.json": "{"}, {}, "via.json: cannot be read as json"),
    ("via_json", {"via.json": "[" * 100_000}, {}, "via.json: cannot be read as json"),
    ("via_json", {"via.json": {}}, {}, "via.json: no annotated image. Received: images='"),
    (
        "via_json",
        via({"name": "star"}),
        {},
        "a.png': region 0: unknown shape. Received: name='star'",
    ),
    ("via_json", via(None), {}, "region 0: shape_attributes must be an object. Received: .*None"),
    (
        "via_json",
        via({**POLYGON, "all_points_y": [1]}),
        {},
        "region 0: a polygon needs one y for each x",
    ),
    ("via_json", via({**POLYGON, "all_points_y": [1, 2, "3"]}), {}, "must be polygons .* finite"),
    (
        "via_json",
        via({**POLYGON, "all_points_y": [1, 2, 1e18]}),
        {},
        "region 0: polygon far outside",
    ),
    ("via_json", via(ELLIPSE), {}, "region 0: ry must be a number. Received: ry=1000"),
    (
        "via_json",
        via({"name": "rect", "x": None}),
        {},
        "region 0: x must be a number. Received: x=No",
    ),
    (
        "via_json",
        via(),
        KIND,
        "region 0: region_attributes must name one class. Received: kind=None",
    ),
    ("via_json", via(kind=TICKS), KIND, "must name one class. Received: kind={'cat': True, 'dog'"),
    (
        "via_json",
        via(kind="dog"),
        {**KIND, **NAMES},
        r"not one of \['cat'\]. Received: class='dog'",
    ),
    ("via_json", via(name="../a.png"), {}, "inside the folder of images. Received: .*'../a.png'"),
    ("via_json", via(name="/a.png"), {}, "inside the folder of images. Received: .*'/a.png'"),
    ("via_json", via(name="c.png"), {}, "c.png: image file does not exist"),
    (
        "labelme",
        {"a.json": {"images": []}},
        {},
        "a.json: a json of labelme has an imagePath and sh",
    ),
    ("labelme", {}, {}, "no annotated image. Received: images='"),
    ("labelme", labelme(label=None), {}, "a.json: shape 0: a shape has a label"),
    ("labelme", labelme(group_id="1"), {}, "a.json: shape 0: .* group_id is an integer or null"),
    (
        "labelme",
        labelme(shape_type="cube"),
        {"class_names": ["cell"], "keep_empty": False},
        "no image has instances",
    ),
    (
        "labelme",
        labelme(shape_type=["mask"]),
        {},
        r"unknown shape. Received: shape_type=\['mask'\]",
    ),
    ("labelme", labelme(points=[4, 5]), {}, r"points must be a list of pairs .* points=\[4, 5\]"),
    ("labelme", labelme(shape_type="circle"), {}, "shape 0: points must be 2 pairs of numbers"),
    ("labelme", labelme(points=[[1, 2], [3, float("nan")]]), {}, "points must be a list of pairs"),
    ("labelme", labelme(points=[[1, 2], [3, 4], [1e6, 2]]), {}, "shape 0: polygon far outside"),
    ("labelme", labelme(**MASK), {}, "shape 0: mask must be a PNG in base64"),
    ("labelme", labelme(**MASK, mask="!"), {}, "shape 0: mask must be a PNG in base64"),
    (
        "labelme",
        labelme(**MASK, mask=ONE_PIXEL),
        {},
        "the size of its points, 10 x 6. Received: .*1, 1",
    ),
    ("labelme", labelme("../../c.png"), {}, "images/c.png: image file does not exist"),
    ("labelme", labelme("/c.png"), {}, "images/c.png: image file does not exist"),
    ("labelme", labelme("C:\\\\x\\\\c.png"), {}, "c.png: image file does not exist"),
    ("labelme", labelme("../.."), {}, "a.json: file_name must lie inside the folder"),
    (
        "labelme",
        {**labelme(), "b.json": labelme()["a.json"]},
        {},
        "b.json: the image occurs twice",
    ),
    ("mask_images", {"c.png": EMPTY}, {}, "no mask belongs to an image. Received: images='"),
    (
        "mask_images",
        {"a.png": jpeg()},
        {},
        "a.png: a mask must be a PNG or a TIFF. Received: format='JPEG'",
    ),
    (
        "mask_images",
        {"a.png": EMPTY.T},
        {},
        "the size of its image, width=30, height=20. Received: width=20",
    ),
    ("mask_images", {"a.png": png(NOISE)[:-300]}, {}, "a.png: image cannot be decoded"),
    ("mask_images", {"a.png": "text"}, {}, "a.png: not an image, or in none of the formats"),
    ("mask_images", {"a.png": EMPTY, "a/1.png": EMPTY}, {}, "a.png: masks in more than one place"),
    (
        "mask_images",
        {"a.png": png(np.ones((20, 30, 3), np.uint16))},
        {},
        "in color must have 8 bits",
    ),
    ("mask_images", {"a.png": EMPTY + 7}, {"label_divisor": 2, **NAMES}, "value 7: .* class=3"),
    (
        "mask_images",
        {"a/1.png": EMPTY},
        {"label_divisor": 9},
        "1.png: a file with one instance cannot hold",
    ),
    ("voc", {"SegmentationClass/a.png": EMPTY}, {}, "SegmentationObject: no such folder"),
    ("voc", {"SegmentationObject/c.png": EMPTY}, {}, "no such image in .* Received: name='c'"),
    (
        "voc",
        {"SegmentationObject/a.png": EMPTY},
        {"split": "val"},
        "val.txt: cannot be read as text",
    ),
    (
        "voc",
        {"SegmentationObject/a.png": EMPTY, "ImageSets/Segmentation/val.txt": "../images/a"},
        {"split": "val"},
        "val.txt: no such image in .* Received: name='../images/a'",
    ),
    (
        "voc",
        {"SegmentationObject/a.png": EMPTY + 1, "SegmentationClass/a.png": EMPTY + 21},
        {},
        "a.png: object 1: unknown class, not one of .* Received: class=21",
    ),
    ("yolo_seg", {"c.txt": ""}, {}, "no .txt belongs to an image. Received: images='"),
    ("yolo_seg", {"a.txt": f"cat {ROW}"}, {}, "a.txt: line 1: a row must be a class number"),
    ("yolo_seg", {"a.txt": f"0.5 {ROW}"}, {}, "a.txt: line 1: a row must be a class number"),
    ("yolo_seg", {"a.txt": f"-1 {ROW}"}, {}, "a.txt: line 1: a row must be a class number"),
    ("yolo_seg", {"a.txt": "\n0 10 20 30 20 30 40"}, {}, "a.txt: line 2: .* Received: '0 10 20 30"),
    ("yolo_seg", {"a.txt": "0 nan 0 0 0 0 0"}, {}, "a.txt: line 1: a row must be a class number"),
    ("yolo_seg", {"a.txt": "0 0.1 0.1"}, {}, "line 1: a row must be a polygon.* Received: 3 num"),
    (
        "yolo_seg",
        {"a.txt": f"0 {ROW} 0.9"},
        {},
        "line 1: a row must be a polygon, class x1 y1 .* Received: 8 numbers",
    ),
    (
        "yolo_seg",
        {"a.txt": f"1 {ROW}"},
        NAMES,
        r"line 1: unknown class, not one of \[0\]. .*class=1",
    ),
    ("yolo_seg", {"a.txt": b"\xff\xfe\x00"}, {}, "a.txt: cannot be read as text"),
    (
        "yolo_seg",
        {"a.txt": "0 .5 .5 .1 .1"},
        {},
        "no instance is left to learn from. Received: 1 dropped: box without a mask",
    ),
]


def test_every_format_has_faults():
    assert {name for name, *_ in FAULTS} == set(READERS) - {"coco_json", *OWN_FILES}


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, np.ndarray):
        Image.fromarray(value).save(path)
    elif isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value))


@pytest.mark.parametrize(
    ("name", "files", "options", "line"), FAULTS, ids=[f"{f[0]} {i}" for i, f in enumerate(FAULTS)]
)
def test_a_fault_is_refused_in_one_line(name, files, options, line, images, tmp_path):
    folder = tmp_path / "annotations"
    folder.mkdir()
    for path, value in files.items():
        write(folder / path, value)
    annotations = folder / "via.json" if name == "via_json" else folder
    with pytest.raises(DataError, match=line) as caught:
        READERS[name](images, annotations, **options)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value).split(": ")[0]


def test_a_mask_of_two_images_is_refused(images, tmp_path):
    (images / "a.jpg").write_bytes((images / "b.jpg").read_bytes())
    write(tmp_path / "masks" / "a.png", EMPTY + 1)
    with pytest.raises(DataError, match="masks/a.png: the mask belongs to several images"):
        READERS["mask_images"](images, tmp_path / "masks")
