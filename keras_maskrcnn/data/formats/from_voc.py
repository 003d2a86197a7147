"""Reads folders in the layout of Pascal VOC, with object segmentations or boxes."""

import math
import os
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content, by_stem, files_by_stem, list_images
from keras_maskrcnn.data.formats.safe_xml import read_xml
from keras_maskrcnn.data.images import read_index
from keras_maskrcnn.data.text import read_lines
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

VOID = 255  # borders between objects, and pixels that are hard to label

# Category ids are the indices of SegmentationClass, which count from 1.
CLASS_NAMES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def voc(
    images: Path,
    annotations: Path,
    *,
    split: str | None = None,
    class_names: ClassNames | None = CLASS_NAMES,
    **options: Any,
) -> CocoDataset:
    """Reads a folder in the layout of Pascal VOC.

    `SegmentationObject/NAME.png` holds the numbers of the objects; 255 is void. An object has the
    class of most of its pixels in `SegmentationClass/NAME.png`. Without that file, it has the name
    of the object with this number in `Annotations/NAME.xml`.

    With masks=False the boxes of `Annotations/NAME.xml` are read. Pixels count from 1, and the last
    one is included. Without a folder `Annotations` the xml files may lie in the folder itself, as
    other tools write them. With masks=None boxes are read if there is no folder SegmentationObject.

    Args:
        images: folder of the images, `VOC2012/JPEGImages`.
        annotations: the folder above, `VOC2012`.
        split: str. Reads the images listed in `ImageSets/Segmentation/SPLIT.txt`, or for boxes in
            `ImageSets/Main/SPLIT.txt`. By default all images with a SegmentationObject or an xml.
        class_names: as in `read_class_names`, for the indices 1, 2, ... By default the 20 classes
            of VOC. If boxes have other names, the names found, in alphabetical order.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if a file cannot be used.
    """
    masks, source = options.get("masks", True), os.path.join(annotations, "SegmentationObject")
    if masks is None:
        masks = os.path.isdir(source)
    options["masks"] = masks
    if not masks:
        return _boxes(images, annotations, split, class_names, options)
    if not os.path.isdir(source):
        raise DataError(f"{source}: no such folder. masks=False reads the boxes of the xml files.")
    content = Content(images, CLASS_NAMES if class_names is None else class_names, options=options)
    file_of = by_stem(list_images(images))
    mask_of = files_by_stem(source, ".png")
    names = list(mask_of)
    folder = source
    if split is not None:
        source = os.path.join(annotations, "ImageSets", "Segmentation", f"{split}.txt")
        names = _read_split(source, file_of)
    for name in names:
        size = _add_image(content, file_of, name, source, has_mask=True)
        if size is None:
            continue
        path = os.path.join(folder, mask_of.get(name, f"{name}.png"))
        objects = read_index(path, size)
        objects[objects == VOID] = 0
        class_of = _classes(annotations, name, objects)
        for number, segmentation in rle.encode_values(objects).items():
            if number not in class_of:
                raise DataError(
                    f"{path}: neither SegmentationClass nor Annotations has the class of an object."
                    f" Received: object={number}."
                )
            where = f"{path}: object {number}"
            content.add(file_of[name], class_of[number], segmentation, where)
    return content.dataset(annotations, options)


def _classes(annotations, name, objects):
    """Returns a dict of object numbers to classes: indices, or names from the xml."""
    path = _find(os.path.join(annotations, "SegmentationClass", name), ".png")
    if path is None:
        path = _find(os.path.join(annotations, "Annotations", name), ".xml")
        return dict(enumerate(_read_names(path), start=1)) if path else {}
    classes = read_index(path, objects.shape)
    known = (objects > 0) & (classes > 0) & (classes != VOID)
    pairs = np.stack([objects[known], classes[known]], axis=1)
    pairs, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(counts, kind="stable")  # the dict keeps each number's last, largest pair
    return dict(pairs[order].tolist())


def _find(stem, suffix):
    """Returns the path of a file with its suffix in lower or upper case, or None."""
    paths = (stem + suffix, stem + suffix.upper())
    return next((path for path in paths if os.path.exists(path)), None)


def _boxes(images, annotations, split, class_names, options):
    """Reads the boxes of the xml files."""
    file_of = by_stem(list_images(images))
    folder = source = os.path.join(annotations, "Annotations")
    if not os.path.isdir(folder):
        folder = source = os.fspath(annotations)  # other tools write xml files without subfolders
    xml_of = files_by_stem(folder, ".xml")
    names = list(xml_of)
    if split is not None:
        source = os.path.join(annotations, "ImageSets", "Main", f"{split}.txt")
        names = _read_split(source, file_of)
    path_of = {name: os.path.join(folder, xml_of.get(name, f"{name}.xml")) for name in names}
    objects = {name: _read_objects(path_of[name]) for name in names if name in file_of}
    if class_names is None or class_names is CLASS_NAMES:
        found = {entry[0] for entries in objects.values() for entry in entries}
        class_names = CLASS_NAMES if found <= set(CLASS_NAMES) else sorted(found)
    content = Content(images, class_names, options=options)
    for name in names:
        if _add_image(content, file_of, name, source) is not None:
            for number, (category, box) in enumerate(objects[name], start=1):
                where = f"{path_of[name]}: object {number}"
                content.add_box(file_of[name], category, box, where)
    return content.dataset(annotations, options)


def _add_image(content, file_of, name, source, has_mask=False):
    """Adds the image of a name. A name cannot lead out of the folder: it must be in `file_of`."""
    if name in file_of:
        return content.add_image(file_of[name], source, has_mask=has_mask)
    error = f"{source}: no such image in {content.images}. Received: name={name!r}."
    return content.skip(name, DataError(error, "missing image"))


def _read_split(path, known):
    r"""Returns the names of a list in ImageSets, with "/" for "\" unless `known` has the name."""
    names = read_lines(path)
    return [name if name in known else name.replace("\\", "/") for name in names]


def _read_objects(path):
    """Returns (name, [x1, y1, x2, y2]) of the objects in an xml file."""
    objects = []
    for number, entry in enumerate(_read_xml(path), start=1):
        name = (entry.findtext("name") or "").strip()
        sides = [entry.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x1, y1, x2, y2 = (float(side) for side in sides)
            usable = name and math.isfinite(x1 + y1 + x2 + y2)
        except (TypeError, ValueError):
            usable = False
        if not usable:
            raise DataError(
                f"{path}: object {number} needs a name, and a bndbox of xmin, ymin, xmax, ymax."
                f" Received: name={name!r}, bndbox={sides}."
            )
        objects.append((name, [x1 - 1, y1 - 1, x2, y2]))  # VOC's first pixel is 1
    return objects


def _read_names(path):
    """Returns the names of the objects in an xml file, in the order of the file."""
    return [(entry.findtext("name") or "").strip() for entry in _read_xml(path)]


def _read_xml(path):
    """Returns the objects of an xml file."""
    return list(read_xml(path).iterfind("object"))
