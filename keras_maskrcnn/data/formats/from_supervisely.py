"""Reads projects of Supervisely."""

import base64
import os
import reprlib
import zlib
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.coco_checks import NO_POLYGON, read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, list_images
from keras_maskrcnn.data.formats.shapes import numbers, rectangle
from keras_maskrcnn.data.images import decode_mask
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

NO_AREA = "object that is no polygon, bitmap or rectangle"
NO_ANNOTATION = "image without a json"
_MAX_BYTES = 2**26  # of a PNG with one mask


def supervisely(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads the images of a project of Supervisely: `DATASET/img/a.jpg`, `DATASET/ann/a.jpg.json`.

    Polygons, also with holes, bitmaps and rectangles become instances. Other objects are counted
    and left out. Bitmaps are exact. The points of polygons are taken for places on the image, as in
    COCO; Supervisely draws the pixels of the border too.

    Args:
        images: folder of the project, or of its data sets.
        annotations: the same folder, or a copy of it with the json files only.
        class_names: as in `read_class_names`. By default the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`. The default of `orientation` is "apply", as
            Supervisely shows images upright.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a json, an object or an image cannot be used, or no json belongs to an image.
    """
    content = Content(images, class_names, options=options, orientation="apply")
    names = [name for name in list_images(images) if "img" in name.split(os.sep)[-2:-1]]
    paths = {}
    for name in names:
        folder, base = os.path.split(name)
        path = os.path.join(annotations, os.path.dirname(folder), "ann", f"{base}.json")
        if os.path.isfile(path):
            paths[name] = path
        else:
            content.drop(NO_ANNOTATION, os.path.join(images, name))
    if not paths:
        line = f"{annotations}: no ann/*.json belongs to an image in a folder img."
        raise DataError(f"{line} Received: images={os.fspath(images)!r}.")
    for name, path in paths.items():
        entry = read_json(path)
        objects = entry.get("objects") if isinstance(entry, dict) else None
        sides = entry.get("size") if isinstance(entry, dict) else None
        if not isinstance(objects, list) or not isinstance(sides, dict):
            line = f"{path}: a json of Supervisely has a size and objects."
            raise DataError(f"{line} Received: {reprlib.repr(entry)}.")
        given: Any = (sides.get("height"), sides.get("width"))
        size = content.add_image(name, path, given)
        for number, one in enumerate(objects if size else ()):
            where = f"{path}: object {number}"
            title = one.get("classTitle") if isinstance(one, dict) else None
            if not isinstance(title, str) or not title:
                raise DataError(f"{where}: classTitle is missing. Received: {reprlib.repr(one)}.")
            found = _segmentation(one, size, where, content.drop)
            if found is not None:
                content.add(name, title, found, where)
    return content.dataset(annotations, options)


def _segmentation(one, size, where, drop):
    """Returns an object as polygons or run lengths; None if it is left out."""
    kind = one.get("geometryType")
    if kind == "bitmap":
        return _bitmap(one.get("bitmap"), size, where)
    if kind not in ("polygon", "rectangle"):
        drop(NO_AREA, where)
        return None
    points = one.get("points")
    if not isinstance(points, dict) or not isinstance(points.get("interior", []), list):
        line = f"{where}: points must have an exterior and a list interior."
        raise DataError(f"{line} Received: points={reprlib.repr(points)}.")
    outer = _points(points.get("exterior"), where)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = np.sort(np.reshape(outer[:4], [2, 2]), axis=0).tolist()
        return [rectangle(x1, y1, x2, y2)]
    holes = [_points(hole, where) for hole in points.get("interior", [])]
    if not any(len(hole) > 5 for hole in holes):
        return [outer]
    height, width = size
    counts, _ = read_segmentation([outer], height, width, where)
    if counts is None:
        drop(NO_POLYGON, where)
        return None
    mask = mask_api.decode({"size": list(size), "counts": counts})
    inside, _ = read_segmentation(holes, height, width, where)
    mask[mask_api.decode({"size": list(size), "counts": inside}) > 0] = 0
    return rle.encode_region(mask > 0, (0, 0), *size)


def _points(points, where):
    """Returns [x1, y1, ...] of a list of [x, y]."""
    if not isinstance(points, list) or len(points) < 2:
        points = [points]
    if not all(isinstance(point, list) and len(point) == 2 for point in points):
        line = f"{where}: points must be a list of at least two [x, y]."
        raise DataError(f"{line} Received: points={reprlib.repr(points)}.")
    return [v for point in points for v in numbers(dict(enumerate(point)), (0, 1), where)]


def _bitmap(bitmap, size, where):
    """Decodes a PNG that is compressed once more, in base64, at its origin."""
    bitmap = bitmap if isinstance(bitmap, dict) else {}
    packed: Any
    origin: Any
    packed, origin = bitmap.get("data"), bitmap.get("origin")
    try:
        packed = base64.b64decode(packed, validate=True)
        unpacker = zlib.decompressobj()
        png = unpacker.decompress(packed, _MAX_BYTES)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise ValueError(f"cut, or over {_MAX_BYTES} bytes")
        mask = decode_mask(png)
        left, top = map(int, numbers(dict(enumerate(origin)), (0, 1), where))
    except DataError:
        raise
    except (TypeError, ValueError, zlib.error) as error:
        line = f"{where}: a bitmap must have an origin [x, y], and a PNG in zlib in base64 as data."
        raise DataError(f"{line} Received: {error}.") from error
    if mask.ndim == 3:  # the mask is in the transparency
        mask = mask[..., -1]
    return rle.encode_region(mask, (top, left), *size)
