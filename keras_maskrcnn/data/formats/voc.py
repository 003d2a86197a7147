"""Reads folders laid out as those of Pascal VOC, with object segmentations."""

import os
from xml.etree import ElementTree

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.formats.content import Content, list_files, read_text
from keras_maskrcnn.data.images import SUFFIXES, DataError, read_index
from keras_maskrcnn.ops import rle

VOID = 255  # borders between objects, and what is hard to tell

# Category ids are the indices of SegmentationClass, which count from 1.
CLASS_NAMES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip


def voc(images, annotations, *, split=None, class_names=CLASS_NAMES, **options) -> CocoDataset:
    """Reads a folder in the layout of Pascal VOC.

    `SegmentationObject/NAME.png` holds the numbers of the objects; 255 is void. The class of an
    object is the one that `SegmentationClass/NAME.png` has at most of its pixels; where there is no
    such file, the name of the object with this number in `Annotations/NAME.xml`.

    Args:
        images: folder of the images, `VOC2012/JPEGImages`.
        annotations: the folder above, `VOC2012`.
        split: str. The images are those in `ImageSets/Segmentation/SPLIT.txt`; by default, those
            that have a SegmentationObject.
        class_names: as of `read_class_names`, for the indices 1, 2, ... By default VOC's 20.
        options: as of `coco_dict`.

    Raises:
        DataError: if a file cannot be used.
    """
    content = Content(images, CLASS_NAMES if class_names is None else class_names)
    file_of = {os.path.splitext(name)[0]: name for name in list_files(images, SUFFIXES)}
    source = os.path.join(annotations, "SegmentationObject")
    names = [os.path.splitext(name)[0] for name in list_files(source, ".png")]
    if split is not None:
        source = os.path.join(annotations, "ImageSets", "Segmentation", f"{split}.txt")
        names = read_text(source).split("\n")
        names = [name.strip() for name in names if name.strip()]
    for name in names:
        if name not in file_of:  # so no name leads out of the folder
            raise DataError(f"{source}: no such image in {images}. Received: name={name!r}.")
        size = content.add_image(file_of[name], source, has_mask=True)
        path = os.path.join(annotations, "SegmentationObject", f"{name}.png")
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
    """Returns a dict of the objects' numbers to their classes: indices, or names from the xml."""
    path = os.path.join(annotations, "SegmentationClass", f"{name}.png")
    if not os.path.exists(path):
        path = os.path.join(annotations, "Annotations", f"{name}.xml")
        return dict(enumerate(_read_names(path), start=1)) if os.path.exists(path) else {}
    classes = read_index(path, objects.shape)
    known = (objects > 0) & (classes > 0) & (classes != VOID)
    pairs = np.stack([objects[known], classes[known]], axis=1)
    pairs, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(counts, kind="stable")  # of a number that comes again, the last pair stays
    return dict(pairs[order].tolist())


def _read_names(path):
    """Returns the names of the objects in an xml file, in its order."""
    text = read_text(path)
    if "<!DOCTYPE" in text:  # without one there are no entities, which could grow without limit
        raise DataError(f"{path}: a document type is refused. Received: <!DOCTYPE ...>.")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as xml. Received: {error}.") from error
    return [(entry.findtext("name") or "").strip() for entry in root.iterfind("object")]
