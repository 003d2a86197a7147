"""Reads json files of the VGG Image Annotator."""

import os
import reprlib
from typing import Any

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.formats.shapes import ellipse, numbers, rectangle
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import ClassNames, Path

NO_AREA = "region without an area: point, line or polyline"


def via_json(
    images: Path,
    annotations: Path,
    *,
    class_attribute: str | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Reads a json of the VGG Image Annotator (VIA), version 1 or 2: annotations or a project.

    Polygons, rectangles, circles and ellipses become instances. Points and lines are left out and
    counted. Image sizes are read from the images, because VIA does not store them.

    Args:
        images: folder that VIA's file names are relative to.
        annotations: json file.
        class_attribute: str. The attribute of a region that holds its class. If it is a checkbox,
            exactly one option must be ticked. By default all regions are of one class.
        class_names: as in `read_class_names`. By default "object" if there is no `class_attribute`,
            otherwise the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if the json or an image cannot be used.
    """
    path = os.fspath(annotations)
    if class_attribute is None and class_names is None:
        class_names = ["object"]
    content = Content(images, class_names, options=options, orientation="apply")
    the_class: int | str = content.the_class() if class_attribute is None else ""
    for entry in _entries(read_json(path), path):
        name = content.local(entry["filename"])
        where = f"{path}: {name!r}"
        if content.add_image(name, where) is None:
            continue
        for key, region in entry["regions"]:
            place = f"{where}: region {key}"
            polygon = _polygon(_dict(region, "shape_attributes", place), place)
            if polygon is None:
                content.drop(NO_AREA, place)
                continue
            category = the_class
            if class_attribute is not None:
                category = _class(region, class_attribute, place)
            content.add(name, category, [polygon], place)
    return content.dataset(path, options)


def _entries(content, path):
    """Yields the entries of the files, each with its regions as (key, region)."""
    if isinstance(content, dict) and "_via_img_metadata" in content:
        content = content["_via_img_metadata"]
    entries = list(content.values()) if isinstance(content, dict) else [content]
    for entry in entries:
        name = entry.get("filename") if isinstance(entry, dict) else None
        regions = entry.get("regions") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not isinstance(regions, list | dict):
            raise DataError(
                f"{path}: a json of VIA 1 or 2 has a filename and regions for each file."
                f" Received: {reprlib.repr(entry)}."
            )
        pairs = regions.items() if isinstance(regions, dict) else enumerate(regions)
        yield {"filename": name, "regions": pairs}


def _dict(region, key, where):
    value = region.get(key) if isinstance(region, dict) else None
    if not isinstance(value, dict):
        raise DataError(f"{where}: {key} must be an object. Received: {key}={reprlib.repr(value)}.")
    return value


def _polygon(shape, where):
    """Returns the polygon of a region, None if it has no area."""
    kind = shape.get("name")
    if kind in ("point", "line", "polyline"):
        return None
    if kind == "polygon":
        xs, ys = (shape.get(f"all_points_{axis}") for axis in "xy")
        if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys):
            received = f"all_points_x={reprlib.repr(xs)}, all_points_y={reprlib.repr(ys)}"
            raise DataError(f"{where}: a polygon needs one y for each x. Received: {received}.")
        return [coordinate for point in zip(xs, ys, strict=True) for coordinate in point]
    if kind == "rect":
        x, y, width, height = numbers(shape, ("x", "y", "width", "height"), where)
        return rectangle(x, y, x + width, y + height)
    if kind == "circle":
        x, y, radius = numbers(shape, ("cx", "cy", "r"), where)
        return ellipse(x, y, radius, radius)
    if kind == "ellipse":
        shape = {"theta": 0, **shape}  # radians; VIA 1 has none
        return ellipse(*numbers(shape, ("cx", "cy", "rx", "ry", "theta"), where))
    raise DataError(f"{where}: unknown shape. Received: name={reprlib.repr(kind)}.")


def _class(region, attribute, where):
    value = _dict(region, "region_attributes", where).get(attribute)
    if isinstance(value, dict):  # a checkbox: {option: whether ticked}
        ticked = [option for option, tick in value.items() if tick]
        value = ticked[0] if len(ticked) == 1 else value
    if not isinstance(value, str) or not value.strip():
        raise DataError(
            f"{where}: region_attributes must name one class."
            f" Received: {attribute}={reprlib.repr(value)}."
        )
    return value.strip()
