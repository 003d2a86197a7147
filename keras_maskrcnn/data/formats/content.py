"""Shared by all formats: collects images and instances, and finds files."""

import os
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from pycocotools import mask as mask_api

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.class_names import read_class_names
from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.coco_checks import (
    FEW_POINTS,
    MIN_BOX_SIDE,
    NO_AREA,
    NO_POLYGON,
    image_errors,
    long_polygons,
    no_instances,
    read_segmentation,
)
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import SUFFIXES, log_remarks, require_size, without_copies
from keras_maskrcnn.data.pixels import read_header
from keras_maskrcnn.data.text import local_path
from keras_maskrcnn.typing import ClassNames, Orientation, Path, Size

BOX_ONLY = "box without a mask (masks=False reads boxes)"
UNREADABLE = "image that cannot be read (on_error='skip')"
NO_PIXEL = "annotation without a mask pixel inside the image"

_ELSEWHERE = re.compile("[A-Za-z]:/|/.*/")  # C:/a.png, /home/me/a.png


class Content:
    """Collects what a reader finds, and makes the content of a COCO json from it.

    Args:
        images: folder that file names are relative to.
        class_names: as in `read_class_names`.
        first_id: int. The category id of the first name if `class_names` is a list.
        options: keyword arguments of `coco_dict`; those about unreadable images and about pixels
            are used here.
        orientation: "ignore" or "apply", unless `options` say it: what the tool does with the
            orientation tag (EXIF) of image files.
    """

    def __init__(
        self,
        images: Path,
        class_names: ClassNames | None = None,
        first_id: int = 1,
        options: Mapping[str, Any] | None = None,
        orientation: Orientation = "ignore",
    ) -> None:
        options = options or {}
        self.images, self.on_error = os.fspath(images), options.get("on_error", "raise")
        self._reading = Reading(
            options.get("channels", 3),
            options.get("image_dtype", "uint8"),
            options.get("pixel_max"),
            options.get("orientation") or orientation,
        )
        self.names = read_class_names(class_names, first_id)
        self._sizes: dict[str, Size] = {}  # by file name
        # By file name: pairs of an annotation without ids, and its place in the source.
        self._annotations: dict[str, list[tuple[dict[str, Any], str]]] = {}
        self._skipped: list[str] = []  # file names
        self._dropped: dict[str, list[str]] = {}  # reason -> places
        self._remarks: dict[str, list[str]] = {}  # remark -> file names

    def the_class(self) -> int:
        """Returns the id of the only class, for a format or a file without classes."""
        names = self.names or {}
        if len(names) != 1:
            raise ValueError(
                "class_names must be a single name, because the annotations have no classes."
                f" Received: class_names={list(names.values())}."
            )
        return next(iter(names))

    def add_image(
        self, file_name: str, where: str, size: Size | None = None, *, has_mask: bool = False
    ) -> Size | None:
        """Adds an image.

        Args:
            file_name: str. Path inside the folder of images.
            where: str. The beginning of error messages.
            size: (height, width) according to the annotations, or None.
            has_mask: whether the annotations are a mask file, which must have the image's size.

        Returns:
            (height, width) of the image file, or None if the image is skipped as unreadable.
        """
        for error in image_errors({"file_name": file_name, "height": 1, "width": 1}, where):
            raise error
        if file_name in self._sizes:
            raise DataError(f"{where}: the image occurs twice. Received: file_name={file_name!r}.")
        path = os.path.join(self.images, file_name)
        try:
            tell = has_mask or size is not None
            actual, remarks = read_header(path, None, self._reading, sides_tell=tell)
        except DataError as error:
            self.skip(file_name, error)
            return None
        if size is not None:
            require_size(path, actual, size)
        for remark in remarks:
            self._remarks.setdefault(remark, []).append(file_name)
        self._sizes[file_name] = actual
        self._annotations[file_name] = []
        return actual

    def local(self, file_name: str) -> str:
        """Returns a path inside the folder of images with the separators of this system.

        If the path is of another machine and the folder has an image of this name, only the file
        name counts.
        """
        name = local_path(file_name, self.images)
        base = name.rpartition("/")[2]
        if _ELSEWHERE.match(name) and os.path.isfile(os.path.join(self.images, base)):
            return base
        return name

    def skip(self, file_name: str, error: DataError) -> None:
        """Skips an image that cannot be read, or raises the error. Returns None."""
        if self.on_error == "raise":
            raise error
        self._skipped.append(file_name)
        self.drop(UNREADABLE, file_name)
        logging.warning("skipped unreadable image %d: %s", len(self._skipped), error)

    def add(
        self,
        file_name: str,
        category: int | str,
        segmentation: Any,
        where: str,
        *,
        crowd: bool = False,
    ) -> None:
        """Adds an instance, or drops it if no part of it lies inside the image.

        Args:
            file_name: str. An image that was added.
            category: int id or str name of the class.
            segmentation: polygons or run lengths, as in a COCO json.
            where: str. The place in the source, for error messages and reports.
            crowd: whether it is a crowd (iscrowd=1), see `crowds` of `coco_dict`.
        """
        self.check_class(category, where)
        annotation, reasons = outlined(category, segmentation, self._sizes[file_name], where)
        for reason in reasons:
            self.drop(reason, where)
        if annotation is not None:
            annotation["iscrowd"] = int(crowd)
            self._annotations[file_name].append((annotation, where))

    def add_box(
        self,
        file_name: str,
        category: int | str,
        box: Sequence[float],
        where: str,
        *,
        crowd: bool = False,
    ) -> None:
        """Adds an instance with a box and no mask. `dataset` drops it if masks are required.

        Args:
            file_name, category, where, crowd: as in `add`.
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
            "iscrowd": int(crowd),
        }
        self._annotations[file_name].append((annotation, where))

    def check_class(self, category: int | str, where: str) -> None:
        """Raises DataError for a class that is not in `class_names`, if names were given."""
        error = None if self.names is None else unknown_class(category, self.names, where)
        if error is not None:
            raise error

    def drop(self, reason: str, where: str) -> None:
        """Counts something that is left out."""
        self._dropped.setdefault(reason, []).append(where)

    def dataset(self, annotations: Path, options: Mapping[str, Any]) -> CocoDataset:
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
                raise DataError(f"{source}: no instance has a class. Received: class_names=None.")
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
        # `add_image` has read every header.
        options = {"check_images": False, **options, "orientation": self._reading.orientation}
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


def outlined(
    category: int | str, segmentation: Any, size: Size, where: str
) -> tuple[dict[str, Any] | None, list[str]]:
    """Makes the annotation of an object from its outline, without ids.

    Args:
        category, segmentation, where: as in `Content.add`.
        size: (height, width) of the image.

    Returns:
        The annotation, or None if no part of the object lies inside the image; and a list of str,
            one for each part that is left out.
    """
    height, width = size
    counts, short = read_segmentation(segmentation, height, width, where)
    reasons = [FEW_POINTS] * short
    rle = {"size": [height, width], "counts": counts}
    if counts is None or not mask_api.area(rle):
        return None, [*reasons, NO_POLYGON if counts is None else NO_PIXEL]
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
    return annotation, reasons


def unknown_class(category: int | str, names: Mapping[int, str], where: str) -> DataError | None:
    """Returns the error for a class that is neither an id nor a name in `names`, or None."""
    if category in names or category in names.values():
        return None
    known = list(names if isinstance(category, int) else names.values())
    return DataError(
        f"{where}: unknown class, not one of {reprlib.repr(known)}. Received: class={category!r}."
    )


def list_files(folder: Path, suffixes: str | tuple[str, ...]) -> list[str]:
    """Lists the files in a folder and its subfolders, as sorted paths relative to the folder.

    Args:
        folder: path.
        suffixes: str or tuple of str, in lower case. Files may have them in upper case.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{os.fspath(folder)}: no such folder.")
    paths = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith("._")  # metadata of macOS
    ]
    return sorted(paths)


def list_images(folder: Path) -> list[str]:
    """Lists images like `list_files`, without the .npy copies of other images."""
    return without_copies(list_files(folder, SUFFIXES))


def files_by_stem(folder: Path, suffixes: str | tuple[str, ...]) -> dict[str, str]:
    """Lists files like `list_files`, as a dict of each path without suffix to the path."""
    return by_stem(list_files(folder, suffixes))


def by_stem(names: Iterable[str]) -> dict[str, str]:
    """Returns a dict of each path without suffix to the path."""
    return {os.path.splitext(name)[0]: name for name in names}
