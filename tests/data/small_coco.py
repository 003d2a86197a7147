"""A COCO json of one small image that tests can change."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco import coco_json

HEIGHT, WIDTH = 20, 30
RECTANGLE = [[4, 5, 14, 5, 14, 11, 4, 11]]  # x 4..14, y 5..11
BOX = [4, 5, 10, 6]  # the same, xywh


def rectangle_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5:11, 4:14] = 1
    return mask


def compressed():
    rle = mask_api.encode(np.asfortranarray(rectangle_mask()))
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}


def uncompressed():
    flat = rectangle_mask().flatten(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def annotation(identity=1, **changes):
    entry = {"id": identity, "image_id": 9, "category_id": 7, "bbox": BOX}
    return {**entry, "segmentation": RECTANGLE, "iscrowd": 0, **changes}


def content(annotations=None, **changes):
    """Returns one image (id 9), categories 31, 7, 12, and by default one annotation."""
    return {
        "images": [{"id": 9, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": [annotation()] if annotations is None else annotations,
        "categories": [{"id": i, "name": f"c{i}"} for i in (31, 7, 12)],
        **changes,
    }


def write(folder, json_content):
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(HEIGHT, WIDTH, 3) % 251
    Image.fromarray(pixels.astype(np.uint8)).save(folder / "a.png")
    (folder / "a.json").write_text(json.dumps(json_content))
    return folder, folder / "a.json"


def read(folder, json_content, **options):
    return coco_json(*write(folder, json_content), **options)


IMAGE = content()["images"][0]
