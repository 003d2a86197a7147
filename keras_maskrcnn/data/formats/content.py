"""What all formats share: collecting images and instances, files, names of classes."""

import os
import re
import reprlib

import numpy as np
from absl import logging
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco import (
    FEW_POINTS,
    MIN_BOX_SIDE,
    NO_AREA,
    NO_POLYGON,
    CocoDataset,
    coco_dict,
    image_errors,
    long_polygons,
    no_instances,
    read_segmentation,
)
from keras_maskrcnn.data.images import DataError, log_remarks, read_header, require_size
from keras_maskrcnn.data.text import decode, local_path

BOX_ONLY = "box without a mask (masks=False reads boxes)"
UNREADABLE = "image that cannot be read (on_error='skip')"
NO_PIXEL = "annotation without a mask pixel inside the image"

_ELSEWHERE = re.compile("[A-Za-z]:/|/.*/")  # C:/a.png, /home/me/a.png
MAX_TEXT = 16_000_000  # bytes of a text file; real ones have thousands


class Content:
    """What a reader finds, until it becomes the content of a COCO json.

    Args:
        images: folder that file names are relative to.
        class_names: as of `read_class_names`.
        first_id: int. The category of the first of a list of class names.
        on_error: as of `coco_dict`.
    """

    def __init__(self, images, class_names=None, first_id=1, on_error="raise"):
        self.images, self.on_error = os.fspath(images), on_error
        self.names = read_class_names(class_names, first_id)
        self._sizes = {}  # file name -> (height, width)
        self._annotations = {}  # file name -> (annotation without ids, where) pairs
        self._skipped = []  # file names
        self._dropped = {}  # reason -> places
        self._remarks = {}  # remark -> file names

    def the_class(self):
        """Returns the id of the one class of a format, or of a file, that has no classes."""
        if len(self.names) != 1:
            raise ValueError(
                "class_names must be one name where the annotations have no classes."
                f" Received: class_names={list(self.names.values())}."
            )
        return next(iter(self.names))

    def add_image(self, file_name, where, size=None, *, has_mask=False):
        """Adds an image.

        Args:
            file_name: str. Path inside the folder of images.
            where: str. What error messages begin with.
            size: (height, width) that the annotations tell, or None.
            has_mask: whether the annotations are a picture, which must have the image's size.

        Returns:
            (height, width) as the image file has it; None if it is left out, as it cannot be read.
        """
        for error in image_errors({"file_name": file_name, "height": 1, "width": 1}, where):
            raise error
        if file_name in self._sizes:
            raise DataError(
                f"{where}: the image is there twice. Received: file_name={file_name!r}."
            )
        path = os.path.join(self.images, file_name)
        try:
            actual, remarks = read_header(path, sides_tell=has_mask or size is not None)
        except DataError as error:
            return self.skip(file_name, error)
        if size is not None:
            require_size(path, actual, size)
        for remark in remarks:
            self._remarks.setdefault(remark, []).append(file_name)
        self._sizes[file_name] = actual
        self._annotations[file_name] = []
        return actual

    def local(self, file_name):
        """Returns a path inside the folder of images with the separators of this system.

        Of a path of another machine the last part counts, if the folder has such an image.
        """
        name = local_path(file_name, self.images)
        base = name.rpartition("/")[2]
        if _ELSEWHERE.match(name) and os.path.isfile(os.path.join(self.images, base)):
            return base
        return name

    def skip(self, file_name, error):
        """Leaves out an image that cannot be read, or raises the error; returns None."""
        if self.on_error == "raise":
            raise error
        self._skipped.append(file_name)
        self.drop(UNREADABLE, file_name)
        logging.warning("skipped, image %d of such: %s", len(self._skipped), error)

    def add(self, file_name, category, segmentation, where):
        """Adds an instance, or drops it if nothing of it lies inside the image.

        Args:
            file_name: str. An image that was added.
            category: int id, or str name, of the class.
            segmentation: polygons or run lengths, as in a COCO json.
            where: str. What error messages begin with, and reports name.
        """
        self.check_class(category, where)
        height, width = self._sizes[file_name]
        counts, short = read_segmentation(segmentation, height, width, where)
        for _ in range(short):
            self.drop(FEW_POINTS, where)
        rle = {"size": [height, width], "counts": counts}
        if counts is None or not mask_api.area(rle):
            self.drop(NO_POLYGON if counts is None else NO_PIXEL, where)
            return
        if isinstance(segmentation, list):
            segmentation = long_polygons(segmentation)
            points = np.concatenate(segmentation).reshape(-1, 2)
            corner, opposite = np.clip([points.min(axis=0), points.max(axis=0)], 0, [width, height])
            box = np.concatenate([corner, opposite - corner])
        else:
            box = mask_api.toBbox(rle)
        annotation = {
            "category_id": category,
            "bbox": box.tolist(),
            "segmentation": segmentation,
            "area": int(mask_api.area(rle)),
            "iscrowd": 0,
        }
        self._annotations[file_name].append((annotation, where))

    def add_box(self, file_name, category, box, where):
        """Adds an instance that has a box and no mask; `dataset` drops it if masks are asked for.

        Args:
            file_name, category, where: as of `add`.
            box: [x1, y1, x2, y2] in pixels of the image.
        """
        self.check_class(category, where)
        limit = np.tile(self._sizes[file_name][::-1], 2)
        x1, y1, x2, y2 = np.clip(np.asarray(box, float), 0, limit).round(3).tolist()
        if min(x2 - x1, y2 - y1) < MIN_BOX_SIDE:
            self.drop(NO_AREA, where)
            return
        width, height = round(x2 - x1, 3), round(y2 - y1, 3)
        annotation = {
            "category_id": category,
            "bbox": [x1, y1, width, height],
            "area": round(width * height, 3),
            "iscrowd": 0,
        }
        self._annotations[file_name].append((annotation, where))

    def check_class(self, category, where):
        """Refuses a class that is not among `class_names`, if those were given."""
        if self.names is None or category in self.names or category in self.names.values():
            return
        known = list(self.names if isinstance(category, int) else self.names.values())
        raise DataError(
            f"{where}: unknown class, not one of {reprlib.repr(known)}."
            f" Received: class={category!r}."
        )

    def drop(self, reason, where):
        """Counts what is left out."""
        self._dropped.setdefault(reason, []).append(where)

    def dataset(self, annotations, options) -> CocoDataset:
        """Makes the data set; `annotations` is its source, `options` are those of `coco_dict`."""
        source, names = os.fspath(annotations), self.names
        masks = options.get("masks", True)
        if masks or (masks is None and self._has_masks()):
            self._drop_boxes()
        if not self._sizes:
            raise DataError(f"{source}: no annotated image. Received: images={self.images!r}.")
        if names is None:
            found = {
                a["category_id"] for per_image in self._annotations.values() for a, _ in per_image
            }
            if not found and self._dropped:
                counts = {reason: len(places) for reason, places in self._dropped.items()}
                raise no_instances(source, counts, bool(masks))
            if not found:
                raise DataError(f"{source}: no instance tells a class. Received: class_names=None.")
            found = enumerate(sorted(found), start=1)
            names = {c if isinstance(c, int) else i: str(c) for i, c in found}
        id_of = {name: identity for identity, name in names.items()}
        content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": identity, "name": name} for identity, name in names.items()],
        }
        for image_id, file_name in enumerate(sorted(self._sizes), start=1):
            height, width = self._sizes[file_name]
            image = {"id": image_id, "file_name": file_name, "height": height, "width": width}
            content["images"].append(image)
            for annotation, _ in self._annotations[file_name]:
                identity = len(content["annotations"]) + 1
                category = annotation["category_id"]
                category = id_of[category] if isinstance(category, str) else category
                content["annotations"].append(
                    {"id": identity, "image_id": image_id, **annotation, "category_id": category}
                )
        log_remarks(self._remarks)
        options = {"check_images": False, **options}  # `add_image` has read every header
        dataset = coco_dict(self.images, content, source=source, dropped=self._dropped, **options)
        dataset.skipped.update(dict.fromkeys(self._skipped, 1))
        return dataset

    def _has_masks(self):
        return any("segmentation" in a for found in self._annotations.values() for a, _ in found)

    def _drop_boxes(self):
        for file_name, found in self._annotations.items():
            for annotation, where in found:
                if "segmentation" not in annotation:
                    self.drop(BOX_ONLY, where)
            self._annotations[file_name] = [pair for pair in found if "segmentation" in pair[0]]


def list_files(folder, suffixes):
    """Lists the files in a folder and in those below, as sorted paths relative to it.

    Args:
        folder: path.
        suffixes: str or tuple of str, in lower case.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{os.fspath(folder)}: no such folder.")
    paths = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith("._")  # of macOS, no images
    ]
    return sorted(paths)


def read_text(path):
    """Reads a text file of at most `MAX_TEXT` bytes, in any encoding that `decode` knows."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TEXT + 1)
        text = decode(data, path) if len(data) <= MAX_TEXT else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text. Received: {error}.") from error
    if len(data) > MAX_TEXT:
        raise DataError(f"{path}: the file is larger than {MAX_TEXT} bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path):
    """Reads the lines of a text file, stripped, without those that are empty or begin with #."""
    lines = (line.strip() for line in read_text(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def files_by_stem(folder, suffixes):
    """Lists files as `list_files`: a dict of each path without its suffix to the path."""
    return {os.path.splitext(name)[0]: name for name in list_files(folder, suffixes)}


def read_class_names(class_names, first_id=1):
    """Brings the names of classes into one form.

    Args:
        class_names: sequence of str, for the categories `first_id`, `first_id` + 1, ...; dict of
            category id to name; path of a text file with a name in each line (but those that begin
            with #), or of a YAML file with `names:`, as YOLO's data.yaml; or None.
        first_id: int.

    Returns:
        Dict of int to str in the given order, or None.
    """
    if class_names is None:
        return None
    where = "class_names"
    if isinstance(class_names, str | os.PathLike):
        where = os.fspath(class_names)
        yaml = where.lower().endswith((".yaml", ".yml"))
        class_names = _yaml_names(read_text(where), where) if yaml else read_lines(where)
    if not isinstance(class_names, dict):
        class_names = dict(enumerate(class_names, start=first_id))
    names = list(class_names.values())
    if (
        not all(isinstance(name, str) and name for name in names)
        or not all(isinstance(identity, int) for identity in class_names)
        or not 0 < len(names) == len(set(names))
    ):
        raise DataError(
            f"{where}: classes need a name of their own each."
            f" Received: {reprlib.repr(class_names)}."
        )
    return class_names


# A number or a dash, if any, and a name: in quotes, or of plain characters.
_YAML_NAME = re.compile(
    r"""\s*(?:(\d+)\s*:\s+|-\s+)?(?:'([^'\\]+)'|"([^"\\]+)"|(\w[^'"\\\[\]{},:#]*?))\s*(?:\s#.*)?"""
)


def _yaml_names(text, path):
    """Reads `names` of a YAML file: a list or a map of numbers, in one line or in many.

    YOLO needs no more of YAML than that, and what is beyond it is refused, not guessed.
    """

    def error(received):
        return DataError(
            f"{path}: names must be a list, or a map of numbers to names. Received: {received!r}."
        )

    found = re.search(r"^names[ \t]*:(.*\n(?:(?:[ \t\-\]}#].*)?\n)*)", text + "\n", re.MULTILINE)
    if not found:
        raise error(text[:40])
    body = found[1].strip()
    flow = re.fullmatch(r"[\[{]([^\[\]{}]*)[\]}]\s*(?:#.*)?", body)
    lines = flow[1].split(",") if flow else found[1].splitlines()
    if not flow and lines[0].strip() and not lines[0].strip().startswith("#"):
        raise error(body[:40])
    entries = []
    for line in lines:
        if not line.strip() or line.strip().startswith("#"):
            continue
        match = _YAML_NAME.fullmatch(line)
        if not match:
            raise error(line.strip()[:40])
        entries.append((match[1], match[2] or match[3] or match[4]))
    numbers = [number for number, _ in entries if number is not None]
    if not numbers:
        return [name for _, name in entries]
    if len(set(numbers)) < len(entries):
        raise error(body[:40])
    return {int(number): name for number, name in entries}
