"""Reads the CSV files of Open Images, with a PNG file per mask."""

import csv
import io
import os
import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, by_stem, list_files, list_images
from keras_maskrcnn.data.formats.from_csv import read_sides
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.text import decode
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path, Size

NO_IMAGE = "image that is not in the folder of images"
NO_ROW = "image without a row"
_BOX = {"BoxXMin": "XMin", "BoxYMin": "YMin", "BoxXMax": "XMax", "BoxYMax": "YMax"}


def open_images(
    images: Path,
    annotations: Path,
    *,
    masks_folder: Path | None = None,
    class_descriptions: Path | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Reads the instance masks or the boxes of Open Images V5 to V7.

    A mask is where its PNG is not 0. PNGs have other sizes than their images; they are resized to
    them, each pixel from the nearest one. Boxes with IsGroupOf=1 are crowds, see `crowds` of
    `coco_dict`. A CSV file is about all images of a split: those that are not in the folder are
    counted and left out, and so are images without a row.

    Args:
        images: folder of the images, `ImageID.jpg`, with its subfolders.
        annotations: the CSV file of masks, such as `train-annotations-object-segmentation.csv`, or
            of boxes, such as `oidv6-train-annotations-bbox.csv`.
        masks_folder: folder of the PNG files, with its subfolders. By default the folder of the CSV
            file.
        class_descriptions: CSV file of LabelName and DisplayName, such as
            `oidv7-class-descriptions-boxable.csv`. Classes then have these names, and otherwise
            those of the files, such as "/m/011k07".
        class_names: as in `read_class_names`. By default the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`. Boxes are read if masks=False, or if the CSV
            file has no masks and masks=None.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a row, a mask or an image cannot be used, or no row is about an image.
    """
    path = os.fspath(annotations)
    rows = _rows(path)
    columns = next(rows)
    masks = "MaskPath" in columns and options.get("masks", True) is not False
    names = dict(_descriptions(class_descriptions)) if class_descriptions else {}
    content = Content(images, class_names, options=options)
    file_of = {os.path.basename(stem): name for stem, name in by_stem(list_images(images)).items()}
    folder = os.path.dirname(path) if masks_folder is None else os.fspath(masks_folder)
    pngs = list_files(folder or ".", ".png") if masks else []
    png_of = {os.path.basename(name): os.path.join(folder, name) for name in pngs}
    sizes: dict[str, Size | None] = {}
    absent: set[str] = set()
    for row, where in rows:
        name = file_of.get(row["ImageID"])
        if name is None:
            absent.add(row["ImageID"])
            continue
        if name not in sizes:
            sizes[name] = content.add_image(name, where)
        size = sizes[name]
        if size is None:
            continue
        label = names.get(row["LabelName"], row["LabelName"])
        if masks:
            mask = png_of.get(row["MaskPath"])
            if mask is None:
                line = f"{where}: MaskPath must be a PNG file in {folder!r} or its subfolders."
                raise DataError(f"{line} Received: MaskPath={row['MaskPath']!r}.")
            content.add(name, label, _mask(mask, size), where)
        else:
            crowd = row.get("IsGroupOf") == "1"
            content.add_box(name, label, _box(row, size, where), where, crowd=crowd)
    for identity in sorted(absent):
        content.drop(NO_IMAGE, identity)
    if not sizes:
        folder = os.fspath(images)
        line = f"{path}: no row is about an image of the folder."
        raise DataError(f"{line} Received: images={folder!r}.")
    for name in sorted(set(file_of.values()) - sizes.keys()):
        content.drop(NO_ROW, name)
    return content.dataset(path, options)


def _rows(path: str) -> Iterator[Any]:
    """Yields the names of the columns, then each row as (dict, place)."""
    try:
        with open(path, "rb") as file:
            lines = csv.DictReader(io.StringIO(decode(file.read(), path), newline=""), strict=True)
        fields = list(lines.fieldnames or ())
        boxes = [*_BOX] if "MaskPath" in fields else [*_BOX.values()]
        if not {"ImageID", "LabelName", *boxes} <= set(fields):
            line = f"{path}: a CSV file of Open Images has the columns ImageID, LabelName,"
            line += f" {', '.join(boxes)}."
            raise DataError(f"{line} Received: columns={reprlib.repr(fields)}.")
        yield fields
        for row in lines:
            where = f"{path}: line {lines.line_num}"
            if None in row or None in row.values():
                line = f"{where}: a row must have {len(fields)} fields, as the header."
                raise DataError(f"{line} Received: {reprlib.repr(list(row.values()))}.")
            yield row, where
    except (OSError, csv.Error, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV. Received: {error}.") from error


def _descriptions(path):
    """Yields (name in the files, name to show); a header becomes a pair like the others."""
    try:
        with open(path, "rb") as file:
            rows = list(csv.reader(io.StringIO(decode(file.read(), path), newline=""), strict=True))
    except (OSError, csv.Error, UnicodeError) as error:
        raise DataError(f"{path}: cannot be read as CSV. Received: {error}.") from error
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            line = f"{path}: row {number} must be LabelName,DisplayName."
            raise DataError(f"{line} Received: {reprlib.repr(row)}.")
        yield row


def _mask(path, size):
    """Returns the run lengths of a PNG, resized to (height, width)."""
    mask: Any = read_image(path).any(axis=2)
    if mask.shape != size:
        mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    return rle.encode_region(mask, (0, 0), *size)


def _box(row, size, where):
    """Returns [x1, y1, x2, y2] in pixels; the row has shares of the sides."""
    keys = _BOX if "MaskPath" in row else _BOX.values()
    shares = read_sides([row[key] for key in keys], where)
    if max(shares) > 1 or min(shares) < 0:
        line = f"{where}: {', '.join(keys)} must be shares of the sides, from 0 to 1."
        raise DataError(f"{line} Received: {shares}.")
    return [share * side for share, side in zip(shares, (*size[::-1], *size[::-1]), strict=True)]
