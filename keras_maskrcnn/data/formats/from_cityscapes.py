"""Reads Cityscapes: images, and polygons or instance ids of gtFine or gtCoarse."""

import os
import reprlib
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, list_files, list_images
from keras_maskrcnn.data.images import read_index, require_mask_size
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

# Ids of cityscapesScripts for the classes with instances that its evaluation counts.
CLASS_NAMES = {
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
NO_ANNOTATION = "image without polygons or instance ids"
_OTHERS_WITH_INSTANCES = {29: "caravan", 30: "trailer"}
_ENDS = ("_polygons.json", "_instanceIds.png")
_NOT_DRAWN = "license plate"  # its id is -1


def cityscapes(
    images: Path, annotations: Path, *, class_names: ClassNames | None = None, **options: Any
) -> CocoDataset:
    """Reads Cityscapes' classes with instances.

    `CITY_SEQUENCE_FRAME_gtFine_instanceIds.png` is read if it is there. Otherwise the polygons of
    `..._polygons.json` are drawn as cityscapesScripts draws them: each covers those before it.
    Groups such as "cargroup" are crowds, see `crowds` of `coco_dict`.

    Args:
        images: folder of the images, `leftImg8bit/train`, with its subfolders.
        annotations: folder of the annotations, `gtFine/train`, with the same subfolders.
        class_names: as in `read_class_names`, with Cityscapes' ids. By default the eight classes
            that Cityscapes evaluates; caravans and trailers are not among them.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a file cannot be used, or no annotation belongs to an image.
    """
    names = CLASS_NAMES if class_names is None else class_names
    content = Content(images, names, first_id=24, options=options)
    files: dict[str, dict[str, str]] = {}
    for name in list_files(annotations, tuple(end.lower() for end in _ENDS)):
        stem, _, end = name.rpartition("_")
        files.setdefault(stem.rpartition("_")[0], {})[f"_{end}"] = os.path.join(annotations, name)
    found = [(name, _stem(name)) for name in list_images(images)]
    if not files.keys() & {stem for _, stem in found}:
        folder = os.fspath(images)
        line = f"{annotations}: no {' or '.join(_ENDS)} belongs to an image."
        raise DataError(f"{line} Received: images={folder!r}.")
    for name, stem in found:
        if stem not in files:
            content.drop(NO_ANNOTATION, os.path.join(images, name))
            continue
        path = files[stem].get(_ENDS[1]) or files[stem][_ENDS[0]]
        size = content.add_image(name, path, has_mask=True)
        if size is None:
            continue
        index = read_index(path, size) if path.endswith(_ENDS[1]) else _draw(path, size)
        known = list(content.names or {})
        for value, segmentation in rle.encode_values(index).items():
            category = value // 1000 if value >= 1000 else value
            if category in known:
                where = f"{path}: instance {value}"
                content.add(name, category, segmentation, where, crowd=value < 1000)
    return content.dataset(annotations, options)


def _stem(name):
    """Returns what the names of an image and of its annotations share."""
    stem = os.path.splitext(name)[0]
    return stem.removesuffix("_leftImg8bit")


def _draw(path, size):
    """Draws polygons as an index of 1000 * class + number, and of the class alone for groups."""
    entry = read_json(path)
    objects = entry.get("objects") if isinstance(entry, dict) else None
    if not isinstance(objects, list):
        line = f"{path}: a json of Cityscapes has imgHeight, imgWidth and objects."
        raise DataError(f"{line} Received: {reprlib.repr(entry)}.")
    require_mask_size(path, (entry.get("imgHeight"), entry.get("imgWidth")), size)
    canvas = Image.new("I", size[::-1])
    drawer = ImageDraw.Draw(canvas)
    counts: dict[str, int] = {}
    ids = {name: i for i, name in (CLASS_NAMES | _OTHERS_WITH_INSTANCES).items()}
    for number, one in enumerate(objects):
        where = f"{path}: object {number}"
        label = one.get("label") if isinstance(one, dict) else None
        if not isinstance(label, str):
            raise DataError(f"{where}: an object has a label. Received: {reprlib.repr(one)}.")
        if one.get("deleted") or label == _NOT_DRAWN:
            continue
        value = ids.get(label.removesuffix("group"), 0)
        if label in ids:
            number_of = counts.get(label, 0)
            counts[label] = number_of + 1
            value = 1000 * value + number_of
        drawer.polygon(_points(one.get("polygon"), where), fill=value)
    return np.asarray(canvas).astype(np.int64)


def _points(points, where):
    """Returns a list of (x, y)."""
    try:
        array = np.array(points, float)
        usable = array.ndim == 2 and array.shape[1] == 2 and len(array) > 1
        usable = usable and np.abs(array).max() < 1e6
    except (TypeError, ValueError):
        usable = False
    if not usable:
        line = f"{where}: polygon must be a list of at least two [x, y]."
        raise DataError(f"{line} Received: polygon={reprlib.repr(points)}.")
    return list(map(tuple, array.tolist()))
