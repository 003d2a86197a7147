"""Reads the things of COCO's panoptic json and its PNG files."""

import os
import reprlib
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.data.coco_checks import image_errors, read_category
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.content import Content
from keras_maskrcnn.data.images import read_index
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import ClassNames, Path

STUFF = "segment of stuff (isthing=0)"
NO_SEGMENTS = "image without an annotation"


def panoptic(
    images: Path,
    annotations: Path,
    *,
    masks_folder: Path | None = None,
    class_names: ClassNames | None = None,
    **options: Any,
) -> CocoDataset:
    """Reads the things of COCO's panoptic format; stuff is counted and left out.

    A segment is where the color of the PNG is its id, R + 256 G + 65536 B. Segments with iscrowd=1
    are crowds, see `crowds` of `coco_dict`.

    Args:
        images: folder of the images.
        annotations: the json file, such as `panoptic_val2017.json`.
        masks_folder: folder of the PNG files. By default the folder beside the json that has its
            name without the suffix, as in COCO.
        class_names: as in `read_class_names`. By default the categories with isthing=1, with their
            ids. A list names these in ascending order of their ids.
        **options: keyword arguments of `coco_dict`.

    Returns:
        `CocoDataset`.

    Raises:
        DataError: if the json, a PNG or an image cannot be used.
    """
    path = os.fspath(annotations)
    masks_folder = os.path.splitext(path)[0] if masks_folder is None else os.fspath(masks_folder)
    images_of, segments_of, things, known = _read(path)
    if class_names is None:
        class_names = things
    elif isinstance(class_names, list | tuple):
        class_names = dict(zip(things, class_names, strict=False))
    content = Content(images, class_names, options=options)
    for identity, image in images_of.items():
        where = f"{path}: image {identity!r}"
        if identity not in segments_of:
            content.drop(NO_SEGMENTS, where)
            continue
        name = content.local(image["file_name"])
        size = content.add_image(name, where, (image["height"], image["width"]), has_mask=True)
        if size is not None:
            annotation = segments_of[identity]
            _add_segments(content, name, masks_folder, annotation, size, things, known, where)
    return content.dataset(annotations, options)


def _read(path):
    """Returns images by id, annotations by image id, names of things by id, and all ids."""
    content = read_json(path)
    lists = content if isinstance(content, dict) else {}
    for key in ("images", "annotations", "categories"):
        if not isinstance(lists.get(key), list) or not all(isinstance(e, dict) for e in lists[key]):
            line = f"{path}: a panoptic json of COCO has a list of objects {key!r}."
            raise DataError(f"{line} Received: {reprlib.repr(content)}.", "broken json")
    names: dict[int, str] = {}
    for category in lists["categories"]:
        read_category(category, names, path)
    things = {c["id"]: names[c["id"]] for c in lists["categories"] if c.get("isthing", 1)}
    images = {image.get("id"): image for image in lists["images"]}
    for identity, image in images.items():
        for error in image_errors(image, f"{path}: image {identity!r}"):
            raise error
    segments = {}
    for annotation in lists["annotations"]:
        identity = annotation.get("image_id")
        if identity not in images or identity in segments:
            line = f"{path}: an annotation has the image_id of an image that has no other one."
            raise DataError(f"{line} Received: image_id={identity!r}.")
        segments[identity] = annotation
    return images, segments, dict(sorted(things.items())), names


def _add_segments(content, name, folder, annotation, size, things, known, where):
    """Adds the things of one image."""
    file_name, segments = annotation.get("file_name"), annotation.get("segments_info")
    for error in image_errors({"file_name": file_name, "height": 1, "width": 1}, where):
        raise error
    if not isinstance(segments, list) or not all(isinstance(s, dict) for s in segments):
        line = f"{where}: segments_info must be a list of objects."
        raise DataError(f"{line} Received: segments_info={reprlib.repr(segments)}.")
    path = os.path.join(folder, file_name)
    index = read_index(path, size)
    wanted = {}
    for segment in segments:
        identity, category = segment.get("id"), segment.get("category_id")
        place = f"{path}: segment {identity!r}"
        if not isinstance(identity, int) or category not in known:
            line = f"{place}: a segment has an id and a category_id of the json."
            raise DataError(f"{line} Received: {reprlib.repr(segment)}.")
        if category in things:
            wanted[identity] = segment
        else:
            content.drop(STUFF, place)
    index[~np.isin(index, list(wanted))] = 0
    outlines = rle.encode_values(index)
    for identity, segment in wanted.items():
        place = f"{path}: segment {identity!r}"
        if identity not in outlines:
            raise DataError(f"{place}: the PNG must have pixels of it. Received: 0 pixels.")
        crowd = bool(segment.get("iscrowd"))
        content.add(name, segment["category_id"], outlines[identity], place, crowd=crowd)
