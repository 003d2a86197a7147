"""Reads the xml of CVAT for images 1.1."""

import math
import os
import reprlib
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.formats.safe_xml import read_xml
from keras_maskrcnn.data.formats.shapes import ellipse, joined, rectangle, turned
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

NO_AREA = "shape without an area, or of a kind that is not read"
MAX_BYTES = 2**29  # of a file; masks are long
_SHAPES = {
    "box": ("xtl", "ytl", "xbr", "ybr"),
    "ellipse": ("cx", "cy", "rx", "ry"),
    "polygon": (),
    "mask": ("left", "top", "width", "height"),
}
_NO_SHAPES = ("attribute", "tag")


def cvat(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads `annotations.xml` of CVAT, exported as "CVAT for images 1.1".

    Polygons, masks, boxes and ellipses, the last two also rotated, become instances. Shapes with
    the same label and the same group of CVAT become one instance. Polylines, points, cuboids and
    skeletons are counted and left out.

    Args:
        images: folder of the images; the names in the xml are relative to it.
        annotations: the xml file.
        class_names: as in `read_class_names`. By default the labels of the file, in its order; in a
            file without them the labels found, in alphabetical order.
        **options: keyword arguments of `coco_dict`. The default of `orientation` is "apply", as
            CVAT shows images upright.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if the file, a shape or an image cannot be used.
    """
    path = os.fspath(annotations)
    root = read_xml(path, MAX_BYTES)
    if root.tag != "annotations" or root.find("track") is not None:
        found = "tracks of a video" if root.tag == "annotations" else f"<{root.tag}>"
        line = f"{path}: must be an export of CVAT for images 1.1, <annotations> with <image>."
        raise DataError(f"{line} Received: {found}.")
    labels = [label.findtext("name", "").strip() for label in root.iterfind("meta//labels/label")]
    if class_names is None:
        class_names = list(dict.fromkeys(name for name in labels if name)) or None
    content = Content(images, class_names, options=options, orientation="apply")
    for image in root.iterfind("image"):
        where = f"{path}: image {image.get('id', '')!r}"
        height, width = (_whole(image, side, where) for side in ("height", "width"))
        name = content.local(image.get("name", ""))
        if content.add_image(name, where, (height, width)) is None:
            continue
        for parts in _instances(image, where, content.drop):
            found = [(_segmentation(shape, place, height, width), place) for shape, place in parts]
            shape, place = parts[0]
            content.add(name, shape.get("label"), joined(found, height, width, content.drop), place)
    return content.dataset(annotations, options)


def _instances(image, where, drop):
    """Returns a list of (shape, where) for each instance of an image."""
    instances: dict[Any, list[Any]] = {}
    shapes = [shape for shape in image if shape.tag not in _NO_SHAPES]
    for i, shape in enumerate(shapes):
        place = f"{where}: shape {i}"
        if shape.tag not in _SHAPES:
            drop(NO_AREA, place)
            continue
        label, group = shape.get("label"), shape.get("group_id", "0")
        if not label:
            raise DataError(f"{place}: a shape has a label. Received: label={label!r}.")
        key = (None, i) if group in ("", "0") else (label, group)
        instances.setdefault(key, []).append((shape, place))
    return instances.values()


def _segmentation(shape, where, height, width):
    """Returns a shape as polygons or as run lengths."""
    if shape.tag == "polygon":
        return [_points(shape.get("points", ""), where)]
    if shape.tag == "mask":
        return _mask(shape, where, height, width)
    a, b, c, d = (_number(shape, key, where) for key in _SHAPES[shape.tag])
    angle = math.radians(_number(shape, "rotation", where, "0"))
    if shape.tag == "ellipse":
        return [ellipse(a, b, c, d, angle)]
    return [turned(rectangle(a, b, c, d), ((a + c) / 2, (b + d) / 2), angle)]


def _points(text, where):
    """Reads "x,y;x,y;..."."""
    try:
        pairs = [tuple(map(float, pair.split(","))) for pair in text.split(";")]
        usable = all(len(p) == 2 and all(abs(v) < 1e9 for v in p) for p in pairs)
    except ValueError:
        usable = False
    if not usable:
        line = f"{where}: points must be x,y;x,y;... of numbers."
        raise DataError(f"{line} Received: points={reprlib.repr(text)}.")
    return [value for pair in pairs for value in pair]


def _mask(shape, where, height, width):
    """Reads run lengths along the rows of a window, of zeros first."""
    left, top, w, h = (_whole(shape, key, where) for key in _SHAPES["mask"])
    text = shape.get("rle", "")
    try:
        counts = np.array([int(count) for count in text.split(",")])
        usable = counts.min() >= 0 and w * h <= MAX_PIXELS and sum(counts.tolist()) == w * h
    except (ValueError, OverflowError):
        usable = False
    if not usable or min(w, h) < 1:
        line = f"{where}: rle must be run lengths that fill the window of the mask, {w} x {h}."
        raise DataError(f"{line} Received: rle={reprlib.repr(text)}.")
    region = np.repeat(np.arange(len(counts)) % 2 > 0, counts).reshape(h, w)
    return rle.encode_region(region, (top, left), height, width)


def _number(element, key, where, default=""):
    """Returns an attribute as a number below 1e9 in absolute value."""
    text = element.get(key, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e9:
        raise DataError(f"{where}: {key} must be a number. Received: {key}={text[:40]!r}.")
    return value


def _whole(element, key, where):
    """Returns an attribute as an int."""
    value = _number(element, key, where)
    if not value.is_integer():
        raise DataError(f"{where}: {key} must be a whole number. Received: {key}={value!r}.")
    return int(value)
