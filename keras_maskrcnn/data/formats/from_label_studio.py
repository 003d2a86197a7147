"""Reads the json of Label Studio."""

import math
import os
import re
import reprlib
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.formats.shapes import ellipse, numbers, rectangle, turned
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

NO_AREA = "region that is no polygon, brush, rectangle or ellipse with a label"
OTHER_ANNOTATION = "annotation of a task that has a newer one, or one that is the ground truth"
NOT_ANNOTATED = "task without an annotation"
OTHER_LABEL = "label of a region that has several, of which the first one that is a class is read"
_KINDS = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels")
_UPLOAD = re.compile("[0-9a-f]{8}-")  # what Label Studio puts before the name of an upload


def label_studio(
    images: Path,
    annotations: Path,
    *,
    predictions: bool | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Reads an export of Label Studio in its format "JSON".

    Polygons, brushes, rectangles and ellipses, the last two also rotated, become instances. Other
    regions are counted and left out. An instance has one class: of several labels of a region the
    first is read, or the first that is in `class_names`; the others are counted. Of several
    annotations of a task the ground truth is read, or else the newest one. Cancelled ones do not
    count.

    Args:
        images: folder of the images. Of the address of an image, the longest end is taken that is a
            file in this folder; the eight digits that Label Studio puts before the name of an
            upload may be missing there.
        annotations: the json file.
        predictions: whether to read the newest prediction of each task instead of annotations.
        class_names: as in `read_class_names`. By default the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`. The default of `orientation` is "apply", as
            browsers show images upright.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if the file, a region or an image cannot be used.
    """
    path = os.fspath(annotations)
    tasks = read_json(path)
    if not isinstance(tasks, list) or not all(_is_task(task) for task in tasks):
        line = f"{path}: an export of Label Studio in the format JSON is a list of tasks, which"
        raise DataError(f"{line} have data and annotations. Received: {reprlib.repr(tasks)}.")
    content = Content(images, class_names, options=options, orientation="apply")
    for i, task in enumerate(tasks):
        where = f"{path}: task {task.get('id', i)!r}"
        regions = _regions(task, "predictions" if predictions else "annotations", where, content)
        if regions is None:
            continue
        name = _find(content.images, task, where)
        size = _size(regions, where)
        size = content.add_image(name, where, size)
        for number, region in enumerate(regions if size else ()):
            place = f"{where}: region {number}"
            kind, value = region.get("type"), region.get("value")
            labels = value.get(kind) if isinstance(value, dict) and kind in _KINDS else None
            if not labels:
                content.drop(NO_AREA, place)
                continue
            if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
                line = f"{place}: {kind} must be a list of names."
                raise DataError(f"{line} Received: {kind}={reprlib.repr(labels)}.")
            label = _class(labels, content, place)
            content.add(name, label, _segmentation(kind, value, size, place), place)
    return content.dataset(annotations, options)


def _is_task(task):
    return isinstance(task, dict) and isinstance(task.get("data"), dict)


def _regions(task, key, where, content):
    """Returns the regions of a task; None if it was not annotated."""
    found = task.get(key)
    found = found if isinstance(found, list) else []
    found = [one for one in found if isinstance(one, dict) and not one.get("was_cancelled")]
    if not found:
        content.drop(NOT_ANNOTATED, where)
        return None
    truth = [one for one in found if one.get("ground_truth")] or found
    for _ in found[1:]:
        content.drop(OTHER_ANNOTATION, where)
    regions = truth[-1].get("result")
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        line = f"{where}: result must be a list of regions."
        raise DataError(f"{line} Received: result={reprlib.repr(regions)}.")
    return regions


def _class(labels, content, where):
    """Returns the label that is the class of a region, and counts the others.

    The converter of Label Studio to COCO takes the first label, too.
    """
    known = [label for label in labels if content.names and label in content.names.values()]
    chosen = (known or labels)[0]
    for label in dict.fromkeys(labels):
        if label != chosen:
            content.drop(OTHER_LABEL, f"{where}: {label!r}")
    return chosen


def _find(folder, task, where):
    """Returns the path of a task's image in the folder. The file may be missing."""
    addresses = [value for value in task["data"].values() if isinstance(value, str)]
    address = task["data"].get("image", addresses[0] if len(addresses) == 1 else None)
    if not isinstance(address, str) or not address:
        line = f"{where}: data must have the address of the image."
        raise DataError(f"{line} Received: data={reprlib.repr(task['data'])}.")
    parts = urlsplit(address)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]  # of local files
    steps = [step for step in path.replace("\\", "/").split("/") if step not in ("", ".", "..")]
    if not steps:
        raise DataError(f"{where}: data has no image. Received: image={address!r}.")
    names = ["/".join(steps[i:]) for i in range(len(steps))]
    names.append(_UPLOAD.sub("", steps[-1], count=1))
    return next((n for n in names if os.path.isfile(os.path.join(folder, n))), steps[-1])


def _size(regions, where):
    """Returns (height, width) of the image according to its regions; None if they do not say."""
    keys = ("original_height", "original_width")
    sizes = {tuple(region.get(key) for key in keys) for region in regions if keys[0] in region}
    if len(sizes) > 1 or any(region.get("image_rotation") for region in regions):
        line = f"{where}: regions must be of one size, and of an image that is not rotated in"
        raise DataError(f"{line} Label Studio. Received: sizes={sorted(map(str, sizes))}.")
    return next(iter(sizes), None)


def _segmentation(kind, value, size, where):
    """Returns a region as polygons or as run lengths. Coordinates are percent of the sides."""
    height, width = size
    scale = np.array([width / 100, height / 100])
    if kind == "brushlabels":
        if value.get("format") != "rle":
            line = f"{where}: a brush must have the format rle."
            raise DataError(f"{line} Received: format={value.get('format')!r}.")
        return rle.encode_region(decode_brush(value.get("rle"), size, where), (0, 0), *size)
    if kind == "polygonlabels":
        points = value.get("points")
        if not isinstance(points, list) or not all(isinstance(p, list) for p in points):
            line = f"{where}: points must be a list of [x, y]."
            raise DataError(f"{line} Received: points={reprlib.repr(points)}.")
        pairs = [numbers(dict(enumerate(point)), (0, 1), where) for point in points]
        return [(np.reshape(pairs, [-1, 2]) * scale).ravel().round(4).tolist()]
    keys = ("width", "height") if kind == "rectanglelabels" else ("radiusX", "radiusY")
    x, y, w, h, angle = numbers({"rotation": 0, **value}, ("x", "y", *keys, "rotation"), where)
    (x, y), (w, h), angle = scale * [x, y], scale * [w, h], math.radians(angle)
    if kind == "ellipselabels":
        return [ellipse(x, y, w, h, angle)]
    return [turned(rectangle(x, y, x + w, y + h), (x, y), angle)]


def decode_brush(counts: Any, size: tuple[int, int], where: str) -> np.ndarray:
    """Decodes the run lengths of a brush (the format of thi.ng/rle-pack).

    They hold a picture of four channels, row by row; the mask is where the last one is not 0.
    `writers.to_label_studio.brush_counts` describes the bits.

    Args:
        counts: list of int in 0..255.
        size: (height, width) of the image.
        where: str. The beginning of messages.

    Returns:
        (H, W) bool.

    Raises:
        DataError: if they are not as above, or of another size.
    """
    height, width = size
    try:
        data = bytes(counts)
        total, bits = _take(data, 0, 32), _take(data, 32, 5) + 1
        kinds = [_take(data, 37 + 4 * i, 4) + 1 for i in range(4)]
        mask, done, place = np.zeros(height * width, bool), 0, 53
        if total != 4 * mask.size:
            raise ValueError(f"{total} values, but the image has {4 * mask.size}")
        stored = np.unpackbits(np.frombuffer(data, np.uint8))
        while done < total:
            constant, kind = _take(data, place, 1), kinds[_take(data, place + 1, 2)]
            length = _take(data, place + 3, kind) + 1
            place += 3 + kind
            size_in_bits = bits * (1 if constant else length)
            values: Any = stored[place : place + size_in_bits].reshape(-1, bits).any(axis=1)
            place += size_in_bits
            if done + length > total or not len(values) * bits == size_in_bits:
                raise ValueError("runs that are longer than the image or the data")
            # Of the values done, done + 1, ... those of the last channel are 3, 7, 11, ...
            first, last = -(-(done - 3) // 4), -(-(done + length - 3) // 4)
            if constant:
                mask[first:last] = values[0]
            else:
                mask[first:last] = values[3 - done % 4 :: 4]
            done += length
    except (TypeError, ValueError, IndexError) as error:
        line = f"{where}: rle must be the bytes of a brush on an image of {width} x {height}."
        raise DataError(f"{line} Received: {error}, rle={reprlib.repr(counts)}.") from error
    return mask.reshape(height, width)


def _take(data, place, count):
    """Reads up to 32 bits as a number, the most significant first."""
    if place + count > 8 * len(data):
        raise ValueError(f"only {len(data)} bytes")
    start, skipped = divmod(place, 8)
    number = int.from_bytes(data[start : start + 5].ljust(5, b"\0"), "big")
    return number >> (40 - skipped - count) & ((1 << count) - 1)
