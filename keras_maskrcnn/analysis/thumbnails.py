"""Small pictures and outlines of the worst images, within a budget of bytes."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from PIL import Image
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.coco_checks import read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.viewer.outline import outlines
from keras_maskrcnn.visualize import as_rgb

SIDE = 480  # pixels, the longer side of a thumbnail
PICTURE_BYTES = 8_000_000  # of all pictures in the page
OUTLINE_BYTES = 6_000_000  # of all outlines; the rest is drawn as boxes


def gallery(
    numbers: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    annotations: Mapping[str, Any],
    images: str | os.PathLike[str] | None,
    look: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Adds to the worst images what the page draws.

    Args:
        numbers: dict from `report_numbers`.
        results, annotations: the COCO results, and the content of the annotation file.
        images: folder of the images; None for outlines without pictures.
        look: `bands` and `stretch` of `as_rgb`.

    Returns:
        list like `numbers["worst"]`, with "size" and "thumbnail" ([width, height] of the image and
            of its picture), "picture" (a data URI or None), and an "outline" (an SVG path in pixels
            of the picture) for each mask until the budget is spent. An image that cannot be read
            is logged, and its outlines are drawn without a picture.
    """
    entries, pictures, paths = [], 0, 0
    for entry in numbers["worst"]:
        about = numbers["images"][entry["image"]]
        size = _size(about, entry)
        scale = min(1, SIDE / max(size))
        thumbnail = tuple(max(1, round(side * scale)) for side in size)
        picture = None
        if images is not None and about["file_name"] and pictures < PICTURE_BYTES:
            picture = _picture(os.path.join(images, about["file_name"]), thumbnail, look)
            pictures += len(picture or "")
        new = {**entry, "size": size, "thumbnail": thumbnail, "picture": picture}
        if numbers["options"]["iou_type"] == "segm" and about["height"] and about["width"]:
            for key, source, index in (
                ("objects", annotations["annotations"], "annotation"),
                ("detections", results, "result"),
            ):
                new[key] = [dict(thing) for thing in entry[key]]
                for thing in new[key]:
                    if paths < OUTLINE_BYTES:
                        segmentation = source[thing[index]].get("segmentation")
                        thing["outline"] = _outline(segmentation, size, thumbnail)
                        paths += len(thing["outline"] or "")
        entries.append(new)
    return entries


def _size(about, entry):
    """Returns (width, height); without them in the file, what holds all boxes."""
    if about["height"] and about["width"]:
        return about["width"], about["height"]
    boxes = [thing["box"] for key in ("objects", "detections") for thing in entry[key]]
    return tuple(int(max([1, *(box[i] for box in boxes)])) + 1 for i in (2, 3))


def _picture(path, thumbnail, look):
    try:
        image = Image.fromarray(as_rgb(path, **look)).resize(thumbnail, Image.Resampling.BOX)
    except (OSError, DataError) as error:
        logging.warning("%s has no picture in the report: %s", path, error)
        return None
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _outline(segmentation, size, thumbnail):
    """Returns an SVG path; None for no mask, or one too small to be seen."""
    if not segmentation:
        return None
    if isinstance(segmentation, Mapping) and isinstance(segmentation["counts"], bytes):
        segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii")}
    counts, _ = read_segmentation(segmentation, size[1], size[0], "segmentation")
    if counts is None:
        return None
    mask = coco_mask.decode({"size": [size[1], size[0]], "counts": counts}).astype(bool)
    if thumbnail != size:
        mask = np.asarray(Image.fromarray(mask).resize(thumbnail, Image.Resampling.NEAREST))
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(y):
        return None
    part = mask[y[0] : y[-1] + 1, x[0] : x[-1] + 1]
    path = []
    for ring in outlines(part):
        (left, top), rest = (ring[0] + [x[0], y[0]]).tolist(), ring.tolist()[1:]
        path.append(f"M{left} {top}")
        # Moves alternate between horizontal and vertical, so one number tells each.
        for i, corner in enumerate(rest):
            path.append(f"H{corner[0] + x[0]}" if i % 2 == 0 else f"V{corner[1] + y[0]}")
        path.append("Z")
    return "".join(path)
