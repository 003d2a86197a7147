"""Reads tables with a row per object: CSV files of boxes, and tables in memory."""

import csv
import io
import math
import os
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.text import decode
from keras_maskrcnn.typing import ClassNames, Path

FIELDS = ("image", "x1", "y1", "x2", "y2", "class")
# The names of these columns in files of other tools, in lower case.
_NAMES = {
    "image": ("image", "filename", "file_name", "path", "image_path", "image_name"),
    "x1": ("x1", "xmin", "x_min"),
    "y1": ("y1", "ymin", "y_min"),
    "x2": ("x2", "xmax", "x_max"),
    "y2": ("y2", "ymax", "y_max"),
    "class": ("class", "class_name", "label", "category", "name"),
}


def csv_boxes(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads a CSV file of boxes: a row `image,x1,y1,x2,y2,class` per object, without masks.

    Without a header, as keras-retinanet writes it, a row has these six fields in this order. With a
    header, columns are found by name, in any order and beside others. The names are those above,
    also filename, file_name or path; xmin, ymin, xmax and ymax; label, category or class_name. The
    last columns of an image without objects are empty: `path,,,,,`. Images without a row are not in
    the data set.

    Args:
        images: folder that the image paths are relative to. A path of another machine counts by its
            last part, if the folder has such a file.
        annotations: the CSV file. Boxes are in pixels; x2 and y2 are the far edges.
        class_names: as in `read_class_names`. By default the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`. `masks` is None by default.

    Returns:
        `CocoDataset` with has_masks=False.

    Raises:
        DataError: if a row or an image cannot be used.
    """
    path = os.fspath(annotations)
    content = Content(images, class_names, options=options)
    add_rows(content, _rows(path), path)
    return content.dataset(path, {"masks": None, **options})


def add_rows(content: Content, rows: Iterable[tuple[str, Sequence[Any], Any]], source: str) -> None:
    """Adds the rows of a table to a `Content`: its images, boxes and masks.

    Args:
        content: `Content`.
        rows: iterable of (place in the source, the six `FIELDS`, segmentation or None). A field
            that is None or empty is missing.
        source: str. The name of the table in messages.

    Raises:
        DataError: if a row cannot be used, or all boxes are shares of the image's sides.
    """
    sizes: dict[str, Any] = {}
    largest = boxes = 0
    for where, (name, *sides, category), segmentation in rows:
        if not isinstance(name, str | os.PathLike) or not os.fspath(name):
            raise DataError(f"{where}: image must be a path. Received: image={name!r}.")
        name = _inside(content, os.fspath(name))
        if name not in sizes:
            sizes[name] = content.add_image(name, where)
        missing = [value is None or value == "" for value in (*sides, category)]
        if sizes[name] is None or (all(missing) and segmentation is None):
            continue
        category = _class(category, where)
        if segmentation is not None:
            content.add(name, category, segmentation, where)
            continue
        box = read_sides(sides, where)
        content.add_box(name, category, box, where)
        largest, boxes = max(largest, *map(abs, box)), boxes + 1
    if boxes and largest <= 1:
        raise DataError(
            f"{source}: boxes must be in pixels, and not shares of the image's sides."
            f" Received: {boxes} boxes, of which the largest coordinate is {largest:g}."
        )


def read_sides(sides: Sequence[Any], where: str) -> list[float]:
    """Returns the numbers [x1, y1, x2, y2] of a row; raises DataError unless they are a box."""
    try:
        x1, y1, x2, y2 = box = [float(side) for side in sides]
    except (TypeError, ValueError):
        box = [math.nan]
    if not all(map(math.isfinite, box)) or x2 < x1 or y2 < y1:
        raise DataError(
            f"{where}: x1, y1, x2, y2 must be pixels, x2 at least x1 and y2 at least y1."
            f" Received: {reprlib.repr(list(sides))}."
        )
    return box


def columns_of(names: Iterable[Any], source: str) -> list[str]:
    """Returns the column of each of `FIELDS` in a table with these columns.

    Raises:
        DataError: if a column is missing.
    """
    known: dict[str, Any] = {}
    for name in names:
        known.setdefault(str(name).strip().lower(), name)
    found = []
    for field in FIELDS:
        name = next((known[name] for name in _NAMES[field] if name in known), None)
        if name is None:
            raise DataError(
                f"{source}: the table must have the columns {', '.join(FIELDS)}; {field} is"
                f" missing. Received: columns={reprlib.repr(list(known.values()))}."
            )
        found.append(name)
    return found


def _class(value, where):
    """Returns a class as Content takes it: a name, or a whole number as int."""
    if isinstance(value, str) and value:
        return value
    try:
        whole = not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise DataError(f"{where}: class must be a name or an id. Received: class={value!r}.")
    return int(value)


def _rows(path: str) -> Iterator[tuple[str, list[str], None]]:
    """Yields the rows of a CSV file as `add_rows` takes them."""
    try:
        with open(path, "rb") as file:
            text = decode(file.read(), path)
        lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        places, first = range(len(FIELDS)), True
        for row in lines:
            fields, where = [field.strip() for field in row], f"{path}: line {lines.line_num}"
            if not any(fields) or fields[0].startswith("#"):
                continue
            header = first and _is_header(fields)
            first = False
            if header:
                places, width = [fields.index(n) for n in columns_of(fields, path)], len(fields)
                continue
            if len(fields) != (len(FIELDS) if isinstance(places, range) else width):
                raise DataError(
                    f"{where}: a row must have {len(FIELDS)} fields, {','.join(FIELDS)}, or as many"
                    f" as the header. Received: {reprlib.repr(','.join(row))}."
                )
            yield where, [fields[place] for place in places], None
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV. Received: {error}.") from error
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read as text. Received: {error}.") from error


def _is_header(fields):
    """Whether the first row names columns: its box would be words."""
    sides = {name for field in FIELDS[1:5] for name in _NAMES[field]}
    return any(field.lower() in sides for field in fields)


def _inside(content, name):
    """Returns a path relative to the folder of images, if it lies in there."""
    if os.path.isabs(name):
        relative = os.path.relpath(os.path.realpath(name), os.path.realpath(content.images))
        if not relative.startswith(os.pardir):
            return relative
    return content.local(name)
