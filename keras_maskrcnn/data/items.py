"""Data sets whose images come from an object of the user, and not from files."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import logging
from PIL import Image

from keras_maskrcnn.data import bands, pixels
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.class_names import read_class_names
from keras_maskrcnn.data.coco import CocoDataset, coco_dict
from keras_maskrcnn.data.coco_checks import UNREADABLE
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.data.formats.content import unknown_class
from keras_maskrcnn.data.item_entries import entries_of
from keras_maskrcnn.typing import ClassNames, Items

SOURCE = "data in memory"  # the name of a data set in messages


class Place(int):
    """The id of an annotation: a number, which messages show as "image 3, instance 2".

    Args:
        number: int. The id.
        image, instance: int. They count from 0.
    """

    image: int
    instance: int

    def __new__(cls, number: int, image: int, instance: int) -> "Place":
        place = super().__new__(cls, number)
        place.image, place.instance = image, instance
        return place

    def __getnewargs__(self) -> tuple[int, int, int]:  # type: ignore[override]
        return int(self), self.image, self.instance

    def __repr__(self) -> str:
        return f"image {self.image}, instance {self.instance}"


@dataclasses.dataclass(frozen=True, eq=False)
class ItemsDataset(CocoDataset):
    """A `CocoDataset` whose images come from an object. `from_items` makes it.

    Attributes:
        source: the object, see `typing.Items`. Image i of the data set is its image
            `image_ids[i]`.
    """

    source: Any = dataclasses.field(default=None, repr=False)

    def load_image(self, index: int) -> np.ndarray:
        """Reads one image, see `CocoDataset.load_image`. It may be a view of the user's array."""
        return self.load_window(index, 0, 0, *self.sizes[index])

    def load_window(self, index: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of one image; the image itself is not copied.

        Args:
            index: int in [0, len(dataset)).
            top, left, height, width: int. The window, in pixels.

        Returns:
            (height, width, channels) of `image_dtype`.

        Raises:
            DataError: if the object raises anything, or the image has another size than before.
        """
        name, size, reading = self.file_names[index], self.sizes[index], Reading.of(self)
        image = _asked(name, self.source.load_image, self.image_ids[index])
        image = _as_array(image, name, reading)
        if image.shape[:2] != size:
            raise DataError(
                f"{name}: the image must keep its size, {size[0]} x {size[1]} (height, width)."
                f" Received: {image.shape[0]} x {image.shape[1]}.",
                "size mismatch",
            )
        window = image[top : top + height, left : left + width]
        kind = reading.channels, reading.image_dtype
        return bands.fit(window, name, *kind, colors=image.shape[2:] != (2,))


def from_items(
    source: Items,
    *,
    class_names: ClassNames | None = None,
    names: Sequence[str] | None = None,
    **options: Any,
) -> ItemsDataset:
    """Makes a data set of any object that gives images and annotations by their index.

    All annotations are read now, and checked like those of files: messages have "image 3, instance
    2" (both count from 0) in place of a file and a line. Images are read when they are needed, by
    several threads at a time. Without a method `size` each image is read once now, for its size.

    Args:
        source: the object, see `typing.Items`.
        class_names: as in `read_class_names`: a list for the classes 1, 2, ..., or a dict of
            category id to name, such as dict(enumerate(names)) for classes that count from 0. By
            default the classes found.
        names: name of each image, for messages: paths that are relative to any folder. By default
            "image 0", "image 1", ...
        **options: keyword arguments of `coco_dict`, except `check_images`. `masks` is by default
            whether any annotation has masks or polygons. With on_error="skip" images that cannot be
            read are left out now.

    Returns:
        `ItemsDataset`. It may have no instance.

    Raises:
        TypeError: if `source` lacks a method.
        DataError: if an annotation or an image cannot be used.
    """
    for method in ("__len__", "load_image", "annotations"):
        if not hasattr(source, method):
            raise TypeError(
                "source must have __len__, load_image(index) and annotations(index)."
                f" Received: {type(source).__name__} without {method}."
            )
    count, on_error = len(source), options.pop("on_error", "raise")
    check_on_error(on_error)
    names = [f"image {i}" for i in range(count)] if names is None else [str(n) for n in names]
    if len(names) != count:
        raise ValueError(f"names must be {count}, one per image. Received: {len(names)}.")
    known = _known_classes(class_names, options.get("category_ids"))
    kind: dict[str, Any] = {
        name: options[name] for name in ("channels", "image_dtype", "pixel_max") if name in options
    }
    found = _read(source, names, known, Reading(**kind), on_error)
    known = _found_classes(found.annotations) if known is None else known
    content = _content(found, known)
    if options.get("masks") is None:
        options["masks"] = found.outlines
    where = f"{SOURCE}: annotation "
    try:
        coco = coco_dict(
            SOURCE, content, source=SOURCE, dropped=found.dropped, check_images=False, **options
        )
    except DataError as error:  # it is about an instance, or about the whole set
        raise DataError(str(error).removeprefix(where), error.kind) from error
    coco.skipped.update(dict.fromkeys(found.skipped, 1))
    fields = {field.name: getattr(coco, field.name) for field in dataclasses.fields(coco)}
    return ItemsDataset(**fields, source=source)


@dataclasses.dataclass
class _Found:
    """What was read from an object."""

    images: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    annotations: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    dropped: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    skipped: list[str] = dataclasses.field(default_factory=list)
    outlines: bool = False


def _read(source, names, known, reading, on_error):
    """Reads the annotations of all images, and the sizes of the images."""
    found, number = _Found(), 0
    for i, name in enumerate(names):
        annotations = _asked(name, source.annotations, i)
        size = None
        try:
            size = _size(source, i, name, reading)
        except DataError as error:
            if on_error == "raise":
                raise
            found.skipped.append(name)
            logging.warning("skipped unreadable image %d: %s", len(found.skipped), error)
        entries, outlines = entries_of(annotations, i, size, known)
        found.outlines |= outlines
        for instance, (entry, reasons) in enumerate(entries):
            number += 1
            place = Place(number, i, instance)
            for reason in reasons if size else [UNREADABLE]:
                found.dropped.setdefault(reason, []).append(place)
            if size and entry is not None:
                error = known and unknown_class(entry["category_id"], known, repr(place))
                if error and entry["category_id"] == 0:
                    hint = "Ids of a list of names count from 1, of a dict from any number."
                    raise DataError(f"{error} {hint}")
                if error:
                    raise error
                found.annotations.append({"id": place, "image_id": i, **entry})
        if size:
            image = {"id": i, "file_name": name, "height": size[0], "width": size[1]}
            found.images.append(image)
    if not found.images:
        raise DataError(f"{SOURCE}: none of {len(names)} images can be read.")
    return found


def _content(found, names):
    """Returns the content of a COCO json."""
    id_of = {name: identity for identity, name in names.items()}
    for entry in found.annotations:
        entry["category_id"] = id_of.get(entry["category_id"], entry["category_id"])
    categories = [{"id": identity, "name": name} for identity, name in names.items()]
    return {"images": found.images, "annotations": found.annotations, "categories": categories}


def _known_classes(class_names, category_ids):
    """Returns a dict of category id to name, or None if the user gives no names."""
    several = isinstance(class_names, Sequence) and not isinstance(class_names, str)
    if category_ids and several and class_names:
        if len(category_ids) != len(class_names):
            raise DataError(
                f"class_names must be one for each of {len(category_ids)} category_ids."
                f" Received: {len(class_names)} names."
            )
        class_names = dict(zip(category_ids, class_names, strict=True))
    return read_class_names(class_names)


def _found_classes(annotations):
    """Returns a dict of category id to name for the classes that occur."""
    classes = {entry["category_id"] for entry in annotations}
    if not classes or len({isinstance(value, str) for value in classes}) > 1:
        raise DataError(
            f"{SOURCE}: without class_names, labels must be all names or all ids, at least one."
            f" Received: labels={sorted(map(repr, classes))[:5]}."
        )
    ordered = enumerate(sorted(classes), start=1)
    return {i if isinstance(c, str) else c: str(c) for i, c in ordered}


def _asked(name, method, index):
    """Calls a method of the user's object, whose errors become a DataError."""
    try:
        return method(index)
    except DataError:
        raise
    except Exception as error:  # the object may raise anything
        line = f"{name}: {method.__name__}({index}) failed. Received: {error!r}."
        raise DataError(line, "unreadable image") from error


def _size(source, index, name, reading):
    """Returns (height, width) of an image."""
    if hasattr(source, "size"):
        size = _asked(name, source.size, index)
        try:
            height, width = map(int, size)
        except (TypeError, ValueError) as error:
            line = f"{name}: size must return (height, width). Received: {size!r}."
            raise DataError(line, "unreadable image") from error
        return height, width
    image = _as_array(_asked(name, source.load_image, index), name, reading)
    return image.shape[:2]


def _as_array(image, name, reading):
    """Returns an image as an array (H, W) or (H, W, C) that fits `reading`; it is not copied."""
    if isinstance(image, Image.Image):
        return pixels.from_pillow(image, channels=reading.channels, dtype=reading.image_dtype)
    image = np.asarray(image)
    if image.ndim not in (2, 3) or not image.size:
        raise DataError(
            f"{name}: an image must be (H, W) or (H, W, C), with pixels. Received:"
            f" shape={image.shape}.",
            "unreadable image",
        )
    if image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.shape[2] > bands.MAX_CHANNELS:
        raise DataError(
            f"{name}: an image must be (H, W, C), not (C, H, W): transpose(1, 2, 0) turns it."
            f" Received: shape={image.shape}.",
            bands.WRONG_BANDS,
        )
    colors = image.shape[2:] != (2,)
    bands.check_bands((*image.shape, 1)[2], name, reading.channels, colors=colors)
    bands.check_dtype(image.dtype, name, reading.image_dtype)
    return image
