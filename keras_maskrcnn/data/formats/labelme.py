"""Reads json files of labelme."""

import base64
import io
import math
import os
import reprlib

import numpy as np
from PIL import Image
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco import FEW_POINTS, CocoDataset, read_json, read_segmentation
from keras_maskrcnn.data.formats.content import Content, list_files
from keras_maskrcnn.data.formats.shapes import ellipse, rectangle
from keras_maskrcnn.data.images import MAX_PIXELS, DataError
from keras_maskrcnn.ops import rle

NO_AREA = "shape without an area: point, points, line or linestrip"


def labelme(images, annotations, *, class_names=None, **options) -> CocoDataset:
    """Reads the json files that labelme writes, one for each image.

    Polygons, rectangles (turned ones too), circles and masks become instances; those with the same
    label and `group_id` become one. Points and lines are counted. An image that is embedded in the
    json is not used: the file counts.

    Args:
        images: folder of the images. labelme's `imagePath` is relative to its json; if the image is
            not there, it is taken relative to `images`.
        annotations: folder of the json files, often the same; those in folders below count too.
        class_names: as of `read_class_names`. By default those found, in alphabetical order.
        options: as of `coco_dict`.

    Raises:
        DataError: if a json or an image cannot be used.
    """
    content = Content(images, class_names, on_error=options.get("on_error", "raise"))
    for json_name in list_files(annotations, ".json"):
        path = os.path.join(annotations, json_name)
        entry = read_json(path)
        shapes = entry.get("shapes") if isinstance(entry, dict) else None
        if not isinstance(shapes, list) or not isinstance(entry.get("imagePath"), str):
            raise DataError(
                f"{path}: a json of labelme has an imagePath and shapes."
                f" Received: {reprlib.repr(entry)}."
            )
        name = _file_name(content.images, path, entry["imagePath"])
        sides = entry.get("imageHeight"), entry.get("imageWidth")
        size = content.add_image(name, path, None if None in sides else sides)
        if size is None:
            continue
        for label, parts in _instances(shapes, path, content.drop):
            found = [(_segmentation(*part, *size), part[1]) for part in parts]
            content.add(name, label, _join(found, *size, content.drop), parts[0][1])
    return content.dataset(annotations, options)


def _file_name(images, json_path, image_path):
    """Returns the path of the image relative to `images`; refused later if it leads out of it."""
    image_path = image_path.replace("\\", "/")
    if os.path.isabs(image_path):
        return image_path
    beside = os.path.relpath(os.path.join(os.path.dirname(json_path), image_path), images)
    inside = os.path.normpath(image_path)
    leads_out = beside.split(os.sep)[0] == os.pardir
    moved = leads_out or not os.path.exists(os.path.join(images, beside))
    return inside if moved and os.path.exists(os.path.join(images, inside)) else beside


def _instances(shapes, path, drop):
    """Returns (label, [(shape, where), ...]) of each instance, by its first shape."""
    instances = {}
    for i, shape in enumerate(shapes):
        where = f"{path}: shape {i}"
        label = shape.get("label") if isinstance(shape, dict) else None
        group = shape.get("group_id") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label or not isinstance(group, int | None):
            raise DataError(
                f"{where}: a shape has a label, and its group_id is an integer or null."
                f" Received: {reprlib.repr(shape)}."
            )
        if shape.get("shape_type") in ("point", "points", "line", "linestrip"):
            drop(NO_AREA, where)
            continue
        key = (label, None, i) if group is None else (label, group)
        instances.setdefault(key, []).append((shape, where))
    return [(key[0], parts) for key, parts in instances.items()]


def _join(parts, height, width, drop):
    """Makes one segmentation of several (segmentation, where), of polygons if all are."""
    if all(isinstance(segmentation, list) for segmentation, _ in parts):
        return [polygon for segmentation, _ in parts for polygon in segmentation]
    encoded = []
    for segmentation, where in parts:
        counts, _ = read_segmentation(segmentation, height, width, where)
        if counts is None:
            drop(FEW_POINTS, where)
        else:
            encoded.append({"size": [height, width], "counts": counts})
    counts = mask_api.merge(encoded)["counts"].decode("ascii")
    return {"size": [height, width], "counts": counts}


def _segmentation(shape, where, height, width):
    """Returns a shape as polygons or as run lengths."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    lengths = {"rectangle": 2, "circle": 2, "mask": 2, "oriented_rectangle": 4, "polygon": None}
    if not isinstance(kind, str) or kind not in lengths:
        raise DataError(f"{where}: unknown shape. Received: shape_type={reprlib.repr(kind)}.")
    if not _are_points(points) or lengths[kind] not in (None, len(points)):
        raise DataError(
            f"{where}: points must be {lengths[kind] or 'a list of'} pairs of numbers."
            f" Received: points={reprlib.repr(points)}."
        )
    flat = [coordinate for point in points for coordinate in point]
    if kind == "rectangle":
        return [rectangle(*flat)]
    if kind == "circle":
        x, y, edge_x, edge_y = flat
        radius = math.hypot(edge_x - x, edge_y - y)
        return [ellipse(x, y, radius, radius)]
    if kind == "mask":
        return _mask(shape.get("mask"), flat, where, height, width)
    return [flat]


def _are_points(points):
    return isinstance(points, list) and all(
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(v, int | float) and abs(v) < 1e9 for v in point)
        for point in points
    )


def _mask(text, corners, where, height, width):
    """Decodes a PNG in base64, which fills the box of the corners, both inclusive."""
    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"over {MAX_PIXELS} pixels")
            mask = np.asarray(image) > 0
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        raise DataError(f"{where}: mask must be a PNG in base64. Received: {error}.") from error
    x1, y1, x2, y2 = corners
    sides = x2 - x1 + 1, y2 - y1 + 1
    # Corners may be fractions, and are rounded then, as labelme does.
    if mask.ndim != 2 or any(abs(a - b) >= 1 for a, b in zip(sides, mask.shape[::-1], strict=True)):
        raise DataError(
            f"{where}: mask must have one channel and the size of its points, {sides[0]} x"
            f" {sides[1]}. Received: shape={mask.shape}."
        )
    left, top = round(x1), round(y1)
    visible = mask[max(0, -top) : max(0, height - top), max(0, -left) : max(0, width - left)]
    return rle.encode_region(visible, (max(0, top), max(0, left)), height, width)
