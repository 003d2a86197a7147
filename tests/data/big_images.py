"""Draws a data set of two images that are cut into tiles, and cuts it by hand."""

import json

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

SIZES = (60, 80), (33, 47)
CATEGORIES = [{"id": 7, "name": "disc"}, {"id": 3, "name": "bar"}]


def drawn_masks(size, count, seed):
    """Draws ellipses and bars, some across the border: a list of (H, W) bool, none empty."""
    rng, masks = np.random.default_rng(seed), []
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    while len(masks) < count:
        center, radius = rng.uniform([0, 0], size), rng.uniform(1, 14, 2)
        u, v = (y - center[0]) / radius[0], (x - center[1]) / radius[1]
        mask = u**2 + v**2 < 1 if len(masks) % 2 else np.maximum(abs(u), abs(v)) < 1
        if mask.any():
            masks.append(mask)
    return masks


def extent(mask):
    """Returns [x, y, width, height] around the pixels of a mask."""
    rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
    corner = columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]
    return [int(value) for value in corner]


def encode(mask):
    """Returns COCO's run lengths of a mask, by pycocotools."""
    found = mask_api.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": found["counts"].decode()}


def write(folder, suffix=".png", crowd=False):
    """Writes the images and a.json into a folder.

    Args:
        folder: pathlib.Path.
        suffix: str. Of the image files.
        crowd: bool. Whether the last object of the first image is a crowd.

    Returns:
        The content of the json, the pixels of both images, and the masks by annotation id.
    """
    images, annotations, pixels, masks = [], [], [], {}
    for i, size in enumerate(SIZES):
        pixels.append(np.random.default_rng(i).integers(0, 256, (*size, 3)).astype(np.uint8))
        Image.fromarray(pixels[i]).save(folder / f"{i}{suffix}")
        sides = {"height": size[0], "width": size[1]}
        images.append({"id": f"image {i}", "file_name": f"{i}{suffix}", **sides})
        for mask in drawn_masks(size, 9 - 5 * i, seed=i):
            identity = f"a{len(masks)}"
            masks[identity] = mask
            entry = {"id": identity, "image_id": f"image {i}", "bbox": extent(mask)}
            entry |= {"category_id": (7, 3)[len(masks) % 2], "segmentation": encode(mask)}
            annotations.append(entry | {"iscrowd": int(crowd and identity == "a8")})
    content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "a.json").write_text(json.dumps(content))
    return content, pixels, masks
