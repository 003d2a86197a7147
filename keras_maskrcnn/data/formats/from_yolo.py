"""Reads text files of YOLO with polygons or boxes."""

import os
import reprlib
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, files_by_stem, list_images
from keras_maskrcnn.data.text import read_text
from keras_maskrcnn.typing import ClassNames, Path

NO_IMAGE = "label file without an image"

NAMES_FILE = "classes.txt"


def yolo_seg(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads YOLO's labels for segmentation: rows of `class x1 y1 x2 y2 x3 y3 ...`.

    The labels of the image `a/b.jpg` are in `a/b.txt` of the folder of annotations. An image
    without that file has no instances. Coordinates are shares of the image's sides. Rows of 5
    numbers, `class x_center y_center width height`, are boxes. With masks=False they are instances
    too; otherwise they are left out and counted.

    Args:
        images: folder of the images, with its subfolders.
        annotations: folder of the text files, with the same subfolders.
        class_names: as in `read_class_names`, for the classes 0, 1, ...: a list, or the path of a
            data.yaml. By default the names in `classes.txt` of the folder of annotations; without
            this file, the numbers of the classes found.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a file cannot be used, or no text file belongs to an image.
    """
    names_file = os.path.join(annotations, NAMES_FILE)
    if class_names is None and os.path.exists(names_file):
        class_names = names_file
    content = Content(images, class_names, first_id=0, options=options, orientation="apply")
    label_files = files_by_stem(annotations, ".txt")
    label_files = {stem: name for stem, name in label_files.items() if name != NAMES_FILE}
    stem_of = {name: os.path.splitext(name)[0] for name in list_images(images)}
    if not label_files.keys() & set(stem_of.values()):
        images = os.fspath(images)
        raise DataError(f"{annotations}: no .txt belongs to an image. Received: images={images!r}.")
    for name, stem in stem_of.items():
        size = content.add_image(name, os.path.join(images, name))
        if size is None or stem not in label_files:
            continue
        height, width = size
        path = os.path.join(annotations, label_files[stem])
        for number, row in enumerate(read_text(path).split("\n"), start=1):
            if row.strip() and not row.lstrip().startswith("#"):
                _add_row(content, name, row.split(), f"{path}: line {number}", height, width)
    for stem in sorted(label_files.keys() - set(stem_of.values())):
        content.drop(NO_IMAGE, os.path.join(annotations, label_files[stem]))
    return content.dataset(annotations, options)


def _add_row(content, file_name, fields, where, height, width):
    try:
        values = [float(field) for field in fields]
    except ValueError:
        values = [float("nan")]
    # Points a little outside the image are allowed; the mask ends at the border, as in COCO.
    whole = values[0].is_integer() and values[0] >= 0
    if not whole or not all(-1 <= value <= 2 for value in values[1:]):
        raise DataError(
            f"{where}: a row must be a class number, then shares of the image's sides, 0 to 1."
            f" Received: {reprlib.repr(' '.join(fields))}."
        )
    category = int(values[0])
    content.check_class(category, where)
    if len(values) == 5:
        x, y, w, h = np.array(values[1:]) * [width, height, width, height]
        content.add_box(file_name, category, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], where)
        return
    if len(values) < 7 or len(values) % 2 == 0:
        raise DataError(
            f"{where}: a row must be a polygon, class x1 y1 x2 y2 x3 y3 ... (at least 7 numbers, an"
            " odd count), or a box, class x y width height."
            f" Received: {len(values)} numbers."
        )
    points = np.array(values[1:]).reshape(-1, 2) * [width, height]
    # COCO's polygons are drawn on fifths of a pixel, so 0.5 must not come back as 0.4999.
    content.add(file_name, category, [points.ravel().round(2).tolist()], where)
