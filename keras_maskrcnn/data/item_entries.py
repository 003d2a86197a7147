"""Turns the annotations of one image in memory into annotations of a COCO json."""

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import outlined
from keras_maskrcnn.data.images import require_mask_size
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import Size

FIELDS = ("labels", "boxes", "masks", "polygons", "iscrowd", "area", "image_id")

# An annotation without ids, None if it is left out; and why parts of it are left out.
Entry = tuple[dict[str, Any] | None, list[str]]


def entries_of(
    annotations: Any, image: int, size: Size | None, names: Mapping[int, str] | None
) -> tuple[list[Entry], bool]:
    """Reads the annotations of an image.

    Args:
        annotations: as `typing.Items.annotations` returns them.
        image: int. The index of the image, for messages.
        size: (height, width) of the image. None if it cannot be read: its instances are only
            counted.
        names: dict of category id to name, or None if they are not known yet.

    Returns:
        A list of `Entry`, one for each instance.
        Whether the annotations have masks or polygons.

    Raises:
        DataError: if they cannot be used.
    """
    where = f"image {image}"
    if not isinstance(annotations, Mapping):
        kind = type(annotations).__name__
        raise DataError(f"{where}: annotations must be a dict. Received: {kind}.")
    given = {key: value for key, value in annotations.items() if value is not None}
    unknown = [key for key in given if key not in FIELDS]
    if unknown or ("masks" in given and "polygons" in given):
        raise DataError(
            f"{where}: annotations must have boxes, or masks or polygons, and fields of"
            f" {', '.join(FIELDS)}. Received: {', '.join(map(str, given))}."
        )
    outlines, values = _outlines(given, where)
    boxes = _boxes(given["boxes"], where) if "boxes" in given else None
    columns: dict[str, Any] = {
        "boxes": boxes,
        "polygons" if "polygons" in given else "masks": outlines,
    }
    columns = {name: column for name, column in columns.items() if column is not None}
    if not columns:
        raise DataError(
            f"{where}: annotations must have boxes, masks or polygons."
            f" Received: {', '.join(map(str, given)) or 'an empty dict'}."
        )
    count = len(next(iter(columns.values())))
    columns["labels"] = _labels(given.get("labels"), values, count, names, where)
    more = [name for name in ("iscrowd", "area") if name in given]
    columns |= {name: np.asarray(given[name]).ravel().tolist() for name in more}
    if len({len(column) for column in columns.values()}) > 1:
        received = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise DataError(f"{where}: every instance needs one of each. Received: {received}.")
    if size is None:
        return [(None, [])] * count, outlines is not None
    entries = []
    shapes = zip(boxes or [None] * count, outlines or [None] * count, strict=True)
    for i, (box, outline) in enumerate(shapes):
        place = f"{where}, instance {i}"
        entry, reasons = _entry(_class(columns["labels"][i], place), box, outline, size, place)
        if entry is not None:
            entry |= {name: columns[name][i] for name in more}
            entry["iscrowd"] = int(entry["iscrowd"])
        entries.append((entry, reasons))
    return entries, outlines is not None


def _entry(category, box, outline, size, place):
    """Returns one `Entry`."""
    corners: Any = None
    if box is not None:
        x1, y1, x2, y2 = box
        if not np.isfinite(box).all() or x2 < x1 or y2 < y1:
            raise DataError(
                f"{place}: a box must be [x1, y1, x2, y2], finite, x2 at least x1, y2 at least y1."
                f" Received: {box}.",
                "broken bbox",
            )
        corners = [x1, y1, x2 - x1, y2 - y1]
    if outline is None:
        area = corners[2] * corners[3]
        return {"category_id": category, "bbox": corners, "area": area, "iscrowd": 0}, []
    if isinstance(outline, np.ndarray):
        outline = _encode(outline, size, place)
    entry, reasons = outlined(category, outline, size, place)
    if entry is not None and corners is not None:
        entry["bbox"] = corners
    return entry, reasons


def _encode(mask, size, place):
    """Returns the run lengths of a mask (H, W)."""
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise DataError(
            f"{place}: a mask must be (H, W) of bool or whole numbers."
            f" Received: shape={mask.shape}, dtype={mask.dtype}."
        )
    require_mask_size(place, mask.shape, size)
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = (rows[0], rows[-1] + 1) if rows.size else (0, 1)
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = (columns[0], columns[-1] + 1) if columns.size else (0, 1)
    part = mask[top:bottom, left:right]  # the time then depends on the object, not on the image
    if (part[part != 0] != part.max()).any():
        raise DataError(
            f"{place}: a mask must have one value beside 0; a label image is passed as one array"
            f" (H, W). Received: values={reprlib.repr(np.unique(part).tolist())}."
        )
    return rle.encode_region(part != 0, (int(top), int(left)), *size)


def _outlines(given, where):
    """Returns the outlines of all instances, and the values of a label image; or None for each.

    An outline is an array (H, W), run lengths, or a list of polygons [x1, y1, ...].
    """
    if "polygons" in given:
        return [_polygons(parts) for parts in given["polygons"]], None
    if "masks" not in given:
        return None, None
    masks = given["masks"]
    if isinstance(masks, list | tuple):
        return [
            _runs(mask) if isinstance(mask, Mapping) else np.asarray(mask) for mask in masks
        ], None
    masks = np.asarray(masks)
    if masks.ndim == 2 and masks.dtype.kind in "bui":
        encoded = rle.encode_values(masks)
        return list(encoded.values()), list(encoded)
    if masks.ndim != 3 or masks.dtype.kind not in "bui":
        raise DataError(
            f"{where}: masks must be (n, H, W), or a label image (H, W), of bool or whole numbers."
            f" Received: shape={masks.shape}, dtype={masks.dtype}."
        )
    return list(masks), None


def _runs(mask):
    """Returns run lengths as a json holds them."""
    counts = mask.get("counts")
    counts = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    return {**mask, "counts": counts, "size": [*map(_plain, mask.get("size", ()))]}


def _polygons(parts):
    """Returns the polygons of an instance as lists [x1, y1, ...]; run lengths stay."""
    if isinstance(parts, Mapping):
        return _runs(parts)
    if isinstance(parts, np.ndarray) and parts.dtype != object and parts.ndim == 2:
        parts = [parts]
    parts = [_points(part) for part in parts]
    if len(parts) > 2 and all(isinstance(part, list) and len(part) == 2 for part in parts):
        return [[number for point in parts for number in point]]  # one polygon, as its points
    return parts


def _points(part):
    """Returns one polygon as a list of numbers, or what was given if it is none."""
    try:
        points = np.asarray(part, float)
    except (TypeError, ValueError):
        return part
    whole = points.ndim == 1 or (points.ndim == 2 and points.shape[1] == 2)
    return points.ravel().tolist() if whole else part


def _boxes(boxes, where):
    """Returns boxes as lists of four floats."""
    try:
        array = np.asarray(boxes, float)
    except (TypeError, ValueError):
        array = np.zeros([1])
    array = array.reshape(0, 4) if not array.size else array
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(
            f"{where}: boxes must be (n, 4), [x1, y1, x2, y2] in pixels."
            f" Received: boxes={reprlib.repr(boxes)}.",
            "broken bbox",
        )
    return array.tolist()


def _labels(labels, values, count, names, where):
    """Returns a class for each instance: what the user gave, or the only class."""
    if labels is None:
        if names is None or len(names) != 1:
            raise DataError(
                f"{where}: labels are missing; only with a single name in class_names can they be."
                f" Received: class_names={None if names is None else list(names.values())}."
            )
        return [next(iter(names))] * count
    if isinstance(labels, Mapping):
        if values is None:
            raise DataError(f"{where}: labels may be a dict for a label image only.")
        unknown = [value for value in values if value not in labels]
        if unknown:
            raise DataError(
                f"{where}: every value of the label image needs a label."
                f" Received: value={unknown[0]}."
            )
        return [labels[value] for value in values]
    return list(labels if isinstance(labels, list | tuple) else np.asarray(labels))


def _class(value, place):
    """Returns a class as an id or a name."""
    value = _plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{place}: a label must be an id or a name. Received: label={value!r}.")
    return value


def _plain(value):
    """Returns a number of NumPy or of another library as a number of Python."""
    return value.item() if hasattr(value, "item") else value
