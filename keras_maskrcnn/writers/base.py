"""What all writers share: classes, objects one by one, and files that are never half there."""

import contextlib
import dataclasses
import importlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TextIO

import numpy as np

from keras_maskrcnn.files import replacing
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.typing import Path
from keras_maskrcnn.writers.outlines import Part, outline
from keras_maskrcnn.writers.record import ImageRecord

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclasses.dataclass(frozen=True)
class Detected:
    """One object of an image.

    Args:
        number: int from 1. Its place among the image's objects.
        box: (x1, y1, x2, y2) floats in pixels.
        score: float.
        label: int from 1.
        category_id: int.
        class_name: str.
        region: (h, w) bool, the mask inside its window; None without masks.
        origin: (y, x) of the window's upper left pixel.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    label: int
    category_id: int
    class_name: str
    region: np.ndarray | None
    origin: tuple[int, int]


class Writer:
    """Writes the objects of images in one format; a context manager.

    Call `add` once per image. If the block ends by an error, the images before it are kept. Memory
    does not grow with the number of objects.

    Args:
        folder: path. It is made if it is missing.
        class_names: sequence of str, label 1 first. If empty, those of the first detections; if
            these have none, the category ids as text.
        category_ids: sequence of int, label 1 first. If empty, they are the labels.
        tolerance: float. Largest distance in pixels by which an outline may move from the exact one
            to have fewer corners.
        overwrite: bool. Whether to replace files.

    Attributes:
        path: str. The file or the folder that is written.
        images: int. Number of images so far.
        objects: int. Number of objects so far, without `left_out`.
        left_out: int. Number of objects without a pixel in their mask, in formats that need one.

    Raises:
        FileExistsError: if the file, or a folder that is not empty, exists.
        ImportError: if a library is missing. The message names the extra.
        ValueError: if an argument is out of its range.
    """

    place: ClassVar[str]
    """Name of the file or folder that is written."""
    companion: ClassVar[str | None] = None
    """Name of a small second file, which describes the classes."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Libraries that the format needs."""
    only_by_stem: ClassVar[bool] = False
    """Whether readers know an image by its name without suffix alone."""

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] = (),
        category_ids: Sequence[int] = (),
        tolerance: float = 0.0,
        overwrite: bool = False,
    ) -> None:
        if not 0 <= tolerance < np.inf:
            raise ValueError(
                f"tolerance must be a number of pixels, 0 or more. Received: tolerance={tolerance}."
            )
        for module in self.modules:
            _require(module, self.place)
        self.class_names = tuple(map(str, class_names))
        self.category_ids = tuple(map(int, category_ids))
        counts = {len(self.class_names), len(self.category_ids)} - {0}
        if len(counts) > 1:
            raise ValueError(
                "class_names and category_ids must have the same length. Received: "
                f"{len(self.class_names)} names, {len(self.category_ids)} ids."
            )
        self.tolerance, self.overwrite = float(tolerance), overwrite
        self.path = os.path.join(folder, self.place)
        self.images = self.objects = self.left_out = self._last_label = 0
        for place in filter(None, (self.place, self.companion)):
            path = os.path.join(folder, place)
            if not overwrite and _holds_something(path):
                raise FileExistsError(f"{path} exists; pass overwrite=True or another folder.")
        self._folder = folder
        os.makedirs(folder, exist_ok=True)

    def add(self, record: ImageRecord, found: Mapping[str, Any]) -> None:
        """Writes the objects of one image.

        Args:
            record: the image.
            found: dict of "boxes", "scores", "labels" and maybe "masks", as `predict_image` or
                `predict_large` return it.

        Raises:
            ValueError: if the detections do not fit the image or the format.
            OSError: if a file cannot be written.
        """
        found = dict(found)
        size = int(record.height), int(record.width)
        if "masks" in found:
            masks = found["masks"]
            found["masks"] = masks if hasattr(masks, "crop") else InstanceMasks.of(masks)
            if tuple(found["masks"].size) != size:
                raise ValueError(
                    f"{record.file_name}: masks must have the image's size, {size}. "
                    f"Received: size={tuple(found['masks'].size)}."
                )
        self.class_names = self.class_names or tuple(map(str, found.get("class_names") or ()))
        before = self.objects, self.left_out
        try:
            self.write_image(record, found)
        except BaseException:
            self.objects, self.left_out = before
            raise
        self.images += 1

    def write_image(self, record: ImageRecord, found: dict[str, Any]) -> None:
        """Writes the objects of one image. To be overridden."""
        raise NotImplementedError

    def close(self) -> None:
        """Completes the files."""
        if self.companion:
            path = os.path.join(self._folder, self.companion)
            with replacing(path) as new, open_text(new) as file:
                file.write(self.companion_text())

    def companion_text(self) -> str:
        """Returns the content of the second file."""
        raise NotImplementedError

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if not kind or self.images:
            self.close()

    def categories(self) -> dict[int, str]:
        """Returns the classes, as a dict of category id to name.

        Without class names and ids these are the classes of the objects so far.
        """
        count = len(self.class_names or self.category_ids) or self._last_label
        ids = self.category_ids or range(1, count + 1)
        return dict(zip(ids, self.class_names or map(str, ids), strict=False))

    def detected(self, found: Mapping[str, Any]) -> Iterator[Detected]:
        """Yields the objects of an image one by one, and counts them."""
        names, ids, masks = self.class_names, self.category_ids, found.get("masks")
        boxes = np.asarray(found["boxes"], np.float32).reshape(-1, 4)
        rows = zip(boxes, found["scores"], found["labels"], strict=True)
        for i, (box, score, label) in enumerate(rows):
            label = int(label)
            if label < 1 or label > len(names or ids or range(label)):
                count = len(names or ids)
                raise ValueError(f"labels must be in 1..{count}. Received: label={label}.")
            self._last_label = max(self._last_label, label)
            region, origin = (None, (0, 0)) if masks is None else masks.crop(i)
            category = ids[label - 1] if ids else label
            name = names[label - 1] if names else str(category)
            self.objects += 1
            yield Detected(
                i + 1, tuple(box.tolist()), float(score), label, category, name, region, origin
            )

    def outlined(self, found: Mapping[str, Any]) -> Iterator[tuple[Detected, list[Part]]]:
        """Yields the objects with the parts of their outlines; that of a box without masks.

        Objects whose mask is empty are left out and counted.
        """
        for one in self.detected(found):
            if one.region is None:
                x1, y1, x2, y2 = one.box
                yield one, [[np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])]]
                continue
            parts = outline(one.region, one.origin, self.tolerance)
            if parts:
                yield one, parts
            else:
                self.objects, self.left_out = self.objects - 1, self.left_out + 1


class OneFile(Writer):
    """A format with one file for all images."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stack = contextlib.ExitStack()
        new = self._stack.enter_context(replacing(self.path))
        self._file = self._stack.enter_context(open_text(new))

    def head(self) -> str:
        """Returns the beginning of the file. Classes are known by then, if there is an image."""
        return ""

    def tail(self) -> str:
        """Returns the end of the file. Classes and images are known by then."""
        return ""

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterable[str]:
        """Yields the text of one image. To be overridden."""
        raise NotImplementedError

    def write_image(self, record: ImageRecord, found: dict[str, Any]) -> None:
        """Appends an image; after an error the file is as before."""
        begin = self._file.tell()
        try:
            if not begin:
                self._file.write(self.head())
            self._file.writelines(self.pieces(record, found))
        except BaseException:
            self._file.seek(begin)
            self._file.truncate()
            raise

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind and not self.images:  # nothing is worth a file
            self._stack.__exit__(kind, error, trace)
        else:
            self.close()

    def close(self) -> None:
        """Completes the file and puts it in its place."""
        with self._stack:
            if not self._file.tell():
                self._file.write(self.head())
            self._file.write(self.tail())
        super().close()


class FilePerImage(Writer):
    """A format with one file per image, in a folder of the format's name."""

    suffix: ClassVar[str]
    subfolder: ClassVar[str] = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._taken: set[str] = set()  # files so far, without suffix

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterable[str]:
        """Yields the text of one image's file. To be overridden."""
        raise NotImplementedError

    def write_image(self, record: ImageRecord, found: dict[str, Any]) -> None:
        """Writes an image's file."""
        with replacing(self.new_path(record), sync=False) as new, open_text(new) as file:
            file.writelines(self.pieces(record, found))

    def close(self) -> None:
        """Makes the folder if there was no image; after an error there is none."""
        os.makedirs(self.path, exist_ok=True)
        super().close()

    def new_path(self, record: ImageRecord, suffix: str | None = None) -> str:
        """Returns the path of an image's file, and makes its folder.

        It is `a.json` for `a.jpg`. If an image of the same stem was before it, it is `a.jpg.json`.
        """
        name = inside(record.file_name)
        stem, suffix = os.path.splitext(name)[0], suffix or self.suffix
        for candidate in (stem,) if self.only_by_stem else (stem, name):
            if candidate not in self._taken:
                self._taken.add(candidate)
                path = os.path.join(self.path, self.subfolder, candidate + suffix)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                return path
        rule = "the same name without its suffix" if self.only_by_stem else "the same name"
        raise ValueError(
            f"{self.place}: two images must not have {rule}. "
            f"Received: file_name={record.file_name!r}."
        )


def open_text(path: Path) -> TextIO:
    """Opens a text file. Bytes of a file name that are no text are written as `\\udc80`."""
    return open(path, "w", encoding="utf-8", errors="backslashreplace", newline="\n")


def inside(file_name: str) -> str:
    """Returns a file name as a path that cannot leave the folder of the outputs."""
    name = os.path.normpath(os.fspath(file_name))
    outside = os.path.isabs(name) or name.split(os.sep)[0] == os.pardir
    return os.path.basename(name) if outside else name


def separated(items: Iterable[str], first: bool, separator: str = ",\n") -> Iterator[str]:
    """Yields texts with separators between them, and before the first one unless `first`."""
    for item in items:
        yield item if first else separator + item
        first = False


def xml_text(text: str) -> str:
    """Returns a text without the characters that XML cannot hold, not even escaped."""
    return _NOT_XML.sub("\ufffd", text)


def _require(module, place):
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{place} needs the extra formats: pip install keras3-maskrcnn[formats]. "
            f"Received: {error}."
        ) from error


def _holds_something(path):
    return bool(os.listdir(path)) if os.path.isdir(path) else os.path.lexists(path)
