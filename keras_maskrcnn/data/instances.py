"""Data sets of arrays and tables that are in memory."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.formats.from_csv import add_rows, columns_of, read_sides
from keras_maskrcnn.data.items import ItemsDataset, from_items
from keras_maskrcnn.typing import ClassNames, Path

_TABLE = "the table"


def from_instances(
    images: Any,
    *,
    masks: Any = None,
    polygons: Any = None,
    boxes: Any = None,
    labels: Any = None,
    iscrowd: Any = None,
    class_names: ClassNames | None = None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> ItemsDataset:
    """Makes a data set of images and instances in memory.

    Each argument is a sequence with one entry per image: a list, an array, or any object with
    `__len__` and `__getitem__`, which is asked by index whenever an entry is needed. An object with
    a length that can only be iterated is read once into a list. No array is copied.

    Args:
        images: (H, W) or (H, W, C) arrays, or PIL images, as `data.read_pixels` fits them to
            `channels` and `image_dtype`. By default they become 8-bit RGB.
        masks, polygons, boxes, labels, iscrowd: of each image, as `typing.Items.annotations` has
            them. At least one of masks, polygons and boxes is needed. `labels` may also be one dict
            of value to class, for all label images.
        class_names, names, **options: as in `from_items`.

    Returns:
        `ItemsDataset`. It may have no instance.

    Raises:
        TypeError: if an argument has no length.
        ValueError: if the arguments do not have one entry per image.
        DataError: if an annotation or an image cannot be used; see `from_items`.
    """
    if masks is None and polygons is None and boxes is None:
        raise ValueError("instances must have masks, polygons or boxes. Received: none of them.")
    given = dict(masks=masks, polygons=polygons, boxes=boxes, labels=labels, iscrowd=iscrowd)
    fixed = {"labels": labels} if isinstance(labels, Mapping) else {}
    lists = {
        name: _indexed(values, name)
        for name, values in given.items()
        if values is not None and name not in fixed
    }
    images = _indexed(images, "images")
    for name, values in lists.items():
        if len(values) != len(images):
            raise ValueError(
                f"{name} must have one entry per image, {len(images)}. Received: {len(values)}."
            )
    return from_items(_Lists(images, lists, fixed), class_names=class_names, names=names, **options)


class _Lists:
    """`typing.Items` of a sequence for each field."""

    def __init__(self, images, lists, fixed):
        self.images, self.lists, self.fixed = images, lists, fixed

    def __len__(self):
        return len(self.images)

    def load_image(self, index):
        return self.images[index]

    def annotations(self, index):
        return {**{name: values[index] for name, values in self.lists.items()}, **self.fixed}


def _indexed(values, name):
    """Returns an object that can be indexed from 0."""
    if not hasattr(values, "__len__"):
        raise TypeError(
            f"{name} must have a length: a list, an array, or an object with __len__ and"
            f" __getitem__. Received: {type(values).__name__}."
        )
    if hasattr(values, "__getitem__") and not hasattr(values, "iloc"):  # pandas has its own index
        return values
    found = list(values)
    if len(found) != len(values):
        raise ValueError(
            f"{name} must have as many entries as its length says, {len(values)}."
            f" Received: {len(found)}."
        )
    return found


def from_table(
    images: Path | Mapping[str, Any],
    table: Any,
    *,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Makes a data set of a table with a row per object, such as a pandas or polars DataFrame.

    The columns are those of `csv_boxes`, in any order: image, x1, y1, x2, y2, class. A column
    `segmentation` may hold polygons or run lengths as in a COCO json; then x1, y1, x2, y2 may be
    missing, and the box is that of the outline. Empty cells are None or NaN. An image without
    objects has one row with an image only.

    Args:
        images: folder that the column image is relative to; or a dict of its values to arrays.
        table: anything with `columns`, the names, and `table[name]`, the values of a column.
        class_names: as in `read_class_names`. By default the classes found, in ascending order.
        **options: keyword arguments of `coco_dict`. `masks` is None by default.

    Returns:
        `CocoDataset`.

    Raises:
        TypeError: if `table` has no columns.
        DataError: if a row or an image cannot be used. The message has the row, from 0.
    """
    if not hasattr(table, "columns"):
        raise TypeError(f"table must have columns. Received: {type(table).__name__}.")
    rows = list(_rows(table))
    options = {"masks": None, **options}
    if not isinstance(images, Mapping):
        content = Content(images, class_names, options=options)
        add_rows(content, rows, _TABLE)
        return content.dataset(_TABLE, options)
    outlined = any(segmentation is not None for _, _, segmentation in rows)
    found: dict[str, list[tuple[Any, Any]]] = {}
    for where, (name, *sides, category), segmentation in rows:
        if name not in images:
            raise DataError(f"{where}: no such image. Received: image={name!r}.")
        of_image = found.setdefault(name, [])
        if category is None and segmentation is None and all(side is None for side in sides):
            continue
        if category is None or (outlined and segmentation is None):
            lacks = "class" if category is None else "segmentation"
            raise DataError(f"{where}: {lacks} is missing. Received: {lacks}=None.")
        of_image.append((category, segmentation if outlined else read_sides(sides, where)))
    return from_instances(
        [images[name] for name in found],
        labels=[[category for category, _ in of_image] for of_image in found.values()],
        class_names=class_names,
        names=list(found),
        **{
            "polygons" if outlined else "boxes": [
                [place for _, place in of_image] for of_image in found.values()
            ]
        },
        **options,
    )


def _rows(table):
    """Yields the rows of a table as `add_rows` takes them."""
    names = [str(name) for name in table.columns]
    outlines = "segmentation" in names
    sides = ("x1", "y1", "x2", "y2")
    columns = columns_of([*names, *(sides if outlines else ())], _TABLE)
    values = [_cells(table[name]) if name in names else None for name in columns]
    count = len(_cells(table[columns[0]]))
    values = [[None] * count if column is None else column for column in values]
    segmentations = _cells(table["segmentation"]) if outlines else [None] * count
    for i, (*fields, segmentation) in enumerate(zip(*values, segmentations, strict=True)):
        yield f"row {i}", fields, segmentation


def _cells(column):
    """Returns the values of a column as plain objects, with None for what is missing."""
    return [None if _is_missing(value) else _plain(value) for value in column]


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value


def _is_missing(value):
    """Whether a cell is empty: None, an empty text, NaN, or pandas' NA."""
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ == "NAType" or isinstance(value, str) and not value
