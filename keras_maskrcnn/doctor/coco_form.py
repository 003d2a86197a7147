"""Converts unusual forms in a COCO json to COCO's form, if they can mean one thing only.

It converts numbers and ids that are text, names in place of ids, and boxes with named sides. It
also converts polygons without the outer list or in pairs, and run lengths inside a list. Missing
image sizes are read from the files. Ambiguous values stay as they are.
"""

import collections
import json
import math
import os
from typing import Any

from pycocotools import mask as mask_api

from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.pixels import read_header
from keras_maskrcnn.doctor.findings import Examination

_SIDES = ("x", "y", "width", "height")
_CROWD = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


def to_coco_form(found: Examination) -> tuple[dict[str, Any], list[str]]:
    """Converts the content of an `Examination` to COCO's form.

    Returns:
        content: dict. The content of a COCO json. Entries without changes are the same objects as
            in `found.content`.
        actions: list of str, one line per change.
    """
    actions: list[str] = []

    def in_form(kind, entries, changes_of):
        for entry in entries:
            fields = changes_of(entry)
            changes = {key: fields[key] for key in fields if not _same(entry.get(key), fields[key])}
            name = f"{kind} {entry.get('id')!r}"
            actions.extend(f"{name}: {key} is now in COCO's form" for key in changes)
            yield {**entry, **changes} if changes else entry

    categories = list(
        in_form("category", found.content["categories"], lambda c: {"id": _whole(c.get("id"))})
    )
    images = list(
        in_form("image", found.content["images"], lambda i: _image(found.images, found.reading, i))
    )
    sizes: dict[Any, Any] = {}
    for image in images:
        if isinstance(image.get("id"), int | str):
            sizes.setdefault(image["id"], (image.get("height"), image.get("width")))
    category_ids = {c["id"] for c in categories if isinstance(c.get("id"), int)}
    image_of = _by_name(images, "file_name") | {str(identity): identity for identity in sizes}
    category_of = _by_name(categories, "name") | {str(i): i for i in category_ids}

    def annotation(entry):
        image_id = _known(entry.get("image_id"), sizes, image_of)
        size = sizes.get(image_id) if isinstance(image_id, int | str) else None
        identity = entry.get("id")
        return {
            "id": _whole(identity) if isinstance(identity, float) else identity,
            "image_id": image_id,
            "category_id": _known(entry.get("category_id"), category_ids, category_of),
            "iscrowd": _crowd(entry.get("iscrowd")),
            "bbox": _box(entry.get("bbox")),
            "area": _number(entry.get("area")),
            "segmentation": _outline(entry.get("segmentation"), size),
        }

    annotations = list(in_form("annotation", found.content["annotations"], annotation))
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {**found.content, **content}, actions


def _same(old, new):
    """Whether a value is unchanged; the functions below return an unchanged object itself."""
    return old is new or (type(old) is type(new) is int and old == new)


def _image(folder, reading, image):
    """Returns the fields of an image. Sides that the json lacks are read from the file."""
    identity = image.get("id")
    sides = {"height": _whole(image.get("height")), "width": _whole(image.get("width"))}
    fields = {"id": _whole(identity) if isinstance(identity, float) else identity}
    if all(sides[name] is image.get(name) and _positive(sides[name]) for name in sides):
        return fields
    checked = {**image, "height": 1, "width": 1}
    if any(coco_checks.image_errors(checked, "")):  # the file must not be opened
        return fields
    try:
        path = os.path.join(folder, image["file_name"])
        (height, width), _ = read_header(path, None, reading)
    except DataError:
        return fields
    actual = {"height": height, "width": width}
    told = {name: side for name, side in sides.items() if _positive(side)}
    return {**fields, **actual} if told.items() <= actual.items() else fields


def _by_name(entries, field):
    """Returns a dict of name to id, for names that only one entry has and that are no numbers."""
    ids = collections.defaultdict(list)
    for entry in entries:
        name = _number(entry.get(field))
        if isinstance(name, str) and isinstance(entry.get("id"), int | str):
            ids[name.strip()].append(entry["id"])
    return {name: found[0] for name, found in ids.items() if len(found) == 1}


def _positive(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _known(value, known, of_text):
    """Returns the id that a value stands for, or the value itself."""
    if isinstance(value, list | dict) or value in known:
        return value
    return of_text.get(str(_whole(value)).strip(), value)


def _crowd(value):
    if isinstance(value, str):
        return _CROWD.get(value.strip().lower(), value)
    return value


def _box(value):
    value = _parsed(value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
    if isinstance(value, dict) and value.keys() == set(_SIDES):
        value = [value[side] for side in _SIDES]
    return _numbers(value)


def _outline(value, size):
    """Returns a segmentation in COCO's form, or unchanged."""
    parsed = _parsed(value)
    if isinstance(parsed, dict):
        return _runs(parsed, size)
    if not isinstance(parsed, list) or not parsed:
        return parsed
    if all(isinstance(part, dict) and "counts" in part for part in parsed):
        return _united([_runs(part, size) for part in parsed], size, value)
    flat = _numbers(parsed)
    if _is_flat(flat):  # one polygon without the outer list
        return [flat] if len(flat) >= 6 and len(flat) % 2 == 0 else value
    if len(parsed) >= 3 and (pairs := _pairs(parsed)) is not None:
        return [pairs]
    polygons = []
    for part in parsed:
        if isinstance(part, list) and len(part) == 1 and isinstance(part[0], list):
            part = part[0]
        polygon = _numbers(part)
        if not _is_flat(polygon):
            polygon = _pairs(part)
        if polygon is None:
            return value
        polygons.append(polygon)
    return value if polygons == value else polygons


def _pairs(points):
    """Returns [x1, y1, ...] for a list of [x, y] or {"x": x, "y": y}; None for anything else."""
    if not isinstance(points, list) or not points:
        return None
    points = [
        [p["x"], p["y"]] if isinstance(p, dict) and {"x", "y"} <= p.keys() else p for p in points
    ]
    points = [_numbers(point) for point in points]
    if not all(_is_flat(point) and len(point) == 2 for point in points):
        return None
    return [coordinate for point in points for coordinate in point]


def _runs(segmentation, size):
    """Returns run lengths with numbers instead of texts. A missing size is the image's."""
    changes = {}
    for key in ("counts", "size"):
        values = segmentation.get(key)
        if not isinstance(values, list):
            continue
        whole = [_whole(value) for value in values]
        if any(new is not old for new, old in zip(whole, values, strict=True)):
            changes[key] = whole
    if "size" not in segmentation and size is not None:
        changes["size"] = list(size)
    return {**segmentation, **changes} if changes else segmentation


def _united(parts, size, value):
    """Returns the union of several run lengths, or the only one unchanged."""
    if len(parts) == 1:
        return parts[0]
    try:
        height, width = size
        counts = [coco_checks.read_segmentation(part, height, width, "")[0] for part in parts]
    except (DataError, TypeError):
        return value
    sides = list(size)
    merged = mask_api.merge([{"size": sides, "counts": c} for c in counts])
    return {"size": sides, "counts": merged["counts"].decode("ascii")}


def _parsed(value):
    """Returns the list or the object that a text holds as json, or the value itself."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _is_flat(values):
    return isinstance(values, list) and not any(isinstance(v, list | dict | str) for v in values)


def _numbers(values):
    """Returns a list with numbers instead of texts of numbers; anything else unchanged."""
    if not isinstance(values, list) or not any(isinstance(value, str) for value in values):
        return values
    return [_number(value) for value in values]


def _number(value):
    """Returns the finite number that a text holds, or the value itself."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value


def _whole(value):
    """Returns the whole number that a text or a float holds, or the value itself."""
    number = _number(value)
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return value
