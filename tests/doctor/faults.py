"""A valid data set, and a corpus of faults with the kind and line of each."""

import json
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image

from keras_maskrcnn.data import coco, coco_checks
from keras_maskrcnn.levels import STRIDES, anchor_sizes
from keras_maskrcnn.presets import preset_config

NUCLEI = pathlib.Path(__file__).resolve().parents[3] / "shared/data/nuclei"
HEIGHT, WIDTH = 20, 30
NAN, INF = float("nan"), float("inf")
SQUARE = [[4, 5, 14, 5, 14, 11, 4, 11]]  # x 4..14, y 5..11


def annotation(identity, image, **changes):
    entry = {"id": identity, "image_id": image, "category_id": 7, "bbox": [4, 5, 10, 6]}
    return {**entry, "segmentation": SQUARE, "iscrowd": 0, "area": 60, **changes}


def sound():
    """Images 9 (annotations 1 and 2) and 10 (annotation 3), categories 7 and 12."""
    other = [[16, 2, 28, 2, 28, 18, 16, 18]]
    return {
        "info": {"year": 2017},
        "images": [
            {"id": i, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH} for i in (9, 10)
        ],
        "annotations": [
            annotation(1, 9),
            annotation(2, 9, bbox=[16, 2, 12, 16], segmentation=other, area=192, category_id=12),
            annotation(3, 10),
        ],
        "categories": [{"id": 7, "name": "seven"}, {"id": 12, "name": "twelve"}],
    }


def write_image(path, width=WIDTH, height=HEIGHT, **options):
    pixels = np.arange(height * width * 3, dtype=np.uint32).reshape(height, width, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(path, **options)


# Faults: functions that break the content, or the files in the folder.


def changed(key, index, **changes):
    """Makes a fault in one entry: fields are replaced, and removed if the new value is `...`."""

    def fault(content, folder):
        content[key][index].update(changes)
        for field in [name for name, value in changes.items() if value is ...]:
            del content[key][index][field]

    return fault


def broken(**changes):
    return changed("annotations", 2, **changes)


def runs(counts, size=(HEIGHT, WIDTH)):
    return broken(segmentation={"size": list(size), "counts": counts})


def replaced(**changes):
    return lambda content, folder: content.update(changes)


def removed_file(content, folder):
    (folder / "10.png").unlink()


def text_file(content, folder):
    (folder / "10.png").write_text("no image")


def cut_file(content, folder):
    data = (folder / "10.png").read_bytes()
    (folder / "10.png").write_bytes(data[: len(data) // 2])


def turned_file(content, folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(folder / "10.jpg", HEIGHT, WIDTH, exif=exif)
    content["images"][1]["file_name"] = "10.jpg"


def bomb(content, folder):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)  # and no pixels after it
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + checksum
    (folder / "10.png").write_bytes(data)


def no_json(content, folder):
    content["text"] = '{"images": ['


ERRORS = {
    "missing image": (removed_file, "missing image", "10.png: image file does not exist."),
    "text as image": (text_file, "unreadable image", "10.png: not an image, or in none of"),
    "truncated image": (cut_file, "unreadable image", "10.png: image cannot be decoded."),
    "bomb": (bomb, "image too large", "10.png: .*400000000 pixels"),
    "wrong size": (
        changed("images", 1, width=31),
        "size mismatch",
        "10.png: the json says width=31",
    ),
    "turned by EXIF": (turned_file, "size mismatch", r"10.jpg: .*EXIF orientation tag \(6\)"),
    "path upwards": (
        changed("images", 1, file_name="../10.png"),
        "path outside the folder",
        "image 10: file_name must lie inside the folder.* file_name='../10.png'.",
    ),
    "absolute path": (
        changed("images", 1, file_name="/etc/passwd"),
        "path outside the folder",
        "image 10: ",
    ),
    "no file name": (
        changed("images", 1, file_name=...),
        "broken file name",
        "image 10: .* file_name=None.",
    ),
    "size of zero": (
        changed("images", 1, height=0),
        "broken image size",
        "image 10: .* height=0, width=30.",
    ),
    "huge size": (
        changed("images", 1, height=10**30),
        "broken image size",
        "a product of at most 178956970",
    ),
    "image id twice": (
        changed("images", 1, id=9),
        "duplicate image id",
        "image 9: two images have this id.",
    ),
    "image without id": (
        changed("images", 1, id=None),
        "image without id",
        "every image needs an id",
    ),
    "category id twice": (
        changed("categories", 1, id=7),
        "broken category id",
        "its own integer id. Received: id=7.",
    ),
    "category without id": (
        changed("categories", 1, id=...),
        "broken category id",
        "its own integer id. Received: id=None.",
    ),
    "no categories": (replaced(categories=[]), "broken category id", "distinct, at least one"),
    "annotation id twice": (
        broken(id=1),
        "duplicate annotation id",
        "annotation 1: two annotations have this id.",
    ),
    "annotation without id": (broken(id=1.5), "annotation without id", "Received: id=1.5."),
    "unknown image": (
        broken(image_id=8),
        "unknown image",
        "annotation 3: unknown image_id. Received: image_id=8.",
    ),
    "unknown category": (
        broken(category_id=[7]),
        "unknown category",
        r"annotation 3: unknown category_id. Received: category_id=\[7\].",
    ),
    "no bbox": (broken(bbox=...), "missing field", "annotation 3: bbox is missing."),
    "no segmentation": (
        broken(segmentation=None),
        "missing field",
        "annotation 3: segmentation is missing.",
    ),
    "crowd without bbox": (
        broken(iscrowd=1, bbox=None),
        "missing field",
        "annotation 3: bbox is missing.",
    ),
    "NaN in box": (
        broken(bbox=[4, 5, NAN, 6]),
        "broken bbox",
        r"annotation 3: bbox must be .*\[4, 5, nan,",
    ),
    "inf in box": (broken(bbox=[4, 5, INF, 6]), "broken bbox", "annotation 3: bbox must be 4"),
    "three numbers": (broken(bbox=[4, 5, 6]), "broken bbox", r"Received: bbox=\[4, 5, 6\]."),
    "iscrowd as text": (broken(iscrowd="0"), "broken iscrowd", "annotation 3: iscrowd must be"),
    "odd polygon": (
        broken(segmentation=[[4, 5, 14, 5, 14, 11, 4]]),
        "broken polygon",
        "must be polygons",
    ),
    "NaN in polygon": (
        broken(segmentation=[[4, 5, 14, 5, 14, NAN]]),
        "broken polygon",
        "of finite numbers. ",
    ),
    "far polygon": (
        broken(segmentation=[[4, 5, 1e18, 5, 14, 11]]),
        "polygon outside the image",
        "annotation 3: polygon far outside the image.",
    ),
    "mask as text": (
        broken(segmentation="mask.png"),
        "broken segmentation",
        "a list of polygons, or an object",
    ),
    "turned run lengths": (
        runs([600], (WIDTH, HEIGHT)),
        "RLE size",
        r"must have the image's size \[20, 30\]",
    ),
    "too few run lengths": (runs([100, 20]), "broken RLE", "that cover the image exactly"),
    "run lengths that are a number": (runs(1.5), "broken RLE", "that cover the image exactly"),
    "broken run lengths": (runs("P"), "broken RLE", "that cover the image exactly"),
    "broken json": (no_json, "broken json", "a.json: cannot be read as json."),
    "list missing": (replaced(annotations={}), "broken json", "a list of objects 'annotations'."),
    "no images": (replaced(images=[]), "broken json", "a.json: there are no images."),
    "entry of text": (
        lambda content, folder: content["annotations"].append("x"),
        "broken json",
        "a list of objects 'annotations'.",
    ),
}
DROPS = {
    "crowd": (broken(iscrowd=1), "crowd", f"annotation 3: left out: {coco_checks.CROWD}."),
    "box of zero": (broken(bbox=[0, 0, 0, 0]), "box without area", "annotation 3: left out"),
    "negative width": (broken(bbox=[14, 5, -10, 6]), "box without area", "annotation 3: left"),
    "box elsewhere": (broken(bbox=[99, 5, 10, 6]), "box without area", "annotation 3: left out"),
    "no polygon": (broken(segmentation=[]), "no polygon", f"left out: {coco_checks.NO_POLYGON}."),
    "two points": (broken(segmentation=[[4, 5, 14, 11]]), "no polygon", "annotation 3: left out"),
    "few points beside": (
        broken(segmentation=[*SQUARE, [1, 1, 2, 2]]),
        "polygon of few points",
        coco_checks.FEW_POINTS,
    ),
    "mask beside the box": (broken(bbox=[20, 12, 5, 5]), "no mask in the box", coco_checks.NO_MASK),
    "empty mask": (runs([HEIGHT * WIDTH]), "no mask in the box", "annotation 3: left out"),
}
WARNINGS = {
    "file twice": (
        changed("images", 1, file_name="./9.png"),
        "two images of one file",
        "image 10: image 9 has the same file. Received: file_name='./9.png'.",
    ),
    "name twice": (
        changed("categories", 1, name="seven"),
        "two categories of one name",
        "categories 7 and 12 are both named 'seven'.",
    ),
    "unused category": (
        changed("annotations", 1, category_id=7),
        "category without instances",
        r"category 12 \('twelve'\) has 0 instances.",
    ),
    "rare category": (replaced(), "rare class", r"category 12 \('twelve'\) has 1 instances."),
    "no instances": (
        broken(image_id=9, segmentation=[[20, 2, 29, 2, 29, 18]], bbox=[20, 2, 9, 16]),
        "image without instances",
        "image 10 has no instances to train on.",
    ),
    "too many instances": (
        broken(image_id=9),
        "more instances than slots",
        "image 9 has 3 instances for 2 slots.",
    ),
    "the same twice": (
        broken(image_id=9),
        "same instance twice",
        "annotation 3: annotation 1 is the same instance",
    ),
    "box sticks out": (
        broken(bbox=[4, 5, 10, 45], segmentation=[[4, 5, 14, 5, 14, 50, 4, 50]]),
        "box outside the image",
        r"annotation 3: .*Received: bbox=\[4, 5, 10, 45\].",
    ),
    "box too large": (
        broken(bbox=[0, 0, 30, 20]),
        "box and mask disagree",
        r"annotation 3: .*= \[4.0, 5.0, 10.0, 6.0\]. Received: bbox=\[0, 0, 30, 20\].",
    ),
    "area of the image": (
        broken(area=600),
        "area and mask disagree",
        "area is not the area of the mask, 60. Received: area=600",
    ),
    "NaN as area": (broken(area=NAN), "area and mask disagree", "Received: area=nan."),
    "size unknown": (
        changed("images", 1, width=None),
        "annotation not checked",
        "image 10: no size, so 1 annotations are not checked.",
    ),
}
CORPUS = {**ERRORS, **DROPS, **WARNINGS}
# Faults after which nothing is left.
HOPELESS = {"no categories", "broken json", "no images", "list missing"}


def make(folder, name=None):
    """Writes the valid data set with one fault. Returns the arguments of `examine`."""
    write_image(folder / "9.png")
    write_image(folder / "10.png")
    content = sound()
    if name:
        CORPUS[name][0](content, folder)
    path = folder / "a.json"
    path.write_text(content.get("text", json.dumps(content)))
    return folder, path


def load_all(folder, path):
    """Does the same as training: reads the json, then every image."""
    dataset = coco.coco_json(folder, path)
    coco.require_instances(dataset)
    for i in range(len(dataset)):
        dataset.load(i)
    return dataset


def errors(found):
    return [p.line for p in found.problems if p.severity == "error"]


def geometry(preset):
    config = preset_config(preset, image_min_side=200, image_max_side=333)
    return dict(
        min_side=200,
        max_side=333,
        resize_rule=config.resize_rule,
        padding_multiple=config.padding_multiple,
        strides=tuple(STRIDES[config.neck].values()),
        anchor_sizes=anchor_sizes(config),
        anchor_ratios=config.anchor_ratios,
        anchor_rule=config.anchor_rule,
    )
