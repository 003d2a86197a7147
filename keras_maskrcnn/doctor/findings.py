"""The classes for the doctor's findings: problems, and the data that it read."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.pixels import RGB
from keras_maskrcnn.typing import Size

ERROR = "error"
"""Severity of a problem that stops training."""
DROPPED = "dropped"
"""Severity of an annotation that is left out."""
WARNING = "warning"
"""Severity of a likely mistake."""
SEVERITIES = (ERROR, DROPPED, WARNING)


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem of a data set, in one line.

    Attributes:
        kind: str. Problems are counted by kind.
        severity: "error": training would fail. "dropped": `coco_json` leaves it out. "warning": it
            is probably a mistake.
        line: str. The description.
        image: int. Index in the json's list; None if the problem concerns no image.
        annotation: int. Index in the json's list; None if the problem concerns no annotation.
    """

    kind: str
    severity: str
    line: str
    image: int | None = None
    annotation: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", printable(self.line))

    @classmethod
    def of(cls, error: DataError, image: int | None = None, annotation: int | None = None) -> Self:
        """Makes a problem from a `DataError`."""
        return cls(error.kind, ERROR, str(error), image, annotation)


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """The data that `examine` read, and all problems.

    Attributes:
        images: str. The folder of images.
        annotations: str. The json file.
        masks: as in `examine`.
        crowds: as in `examine`.
        in_tiles: whether training reads the images in tiles, so that they may be of any size.
        content: dict. The json's content, with only the objects of its three lists.
        cut: list of str. Names of the lists that are missing, or held anything but objects.
        problems: list of Problem, by severity, then by kind, then in the json's order.
        file_names: the path of each image of the json on this system, or the invalid value of the
            json.
        sizes: (height, width) of each image of the json; None if the json has no valid size.
        image_of: dict of image id to index.
        label_of: dict of category id to label.
        class_names: list of str, label 1 first.
        entries: (N,) int. Index in the json of each annotation that training would use.
        image_index: (N,) int. Index of the image of each of these annotations.
        boxes: (N, 4) float64 [x1, y1, x2, y2] in pixels of the image, clipped to it.
        labels: (N,) int in 1..C.
        counts: list of N bytes, COCO's compressed run lengths; of N times None without `masks`.
        reading: `data.bands.Reading`: bands and dtype of the images.
        load_image: function of an index that returns the pixels of an image that is no file; None
            for files.
    """

    images: str
    annotations: str
    masks: bool
    crowds: str
    in_tiles: bool
    content: dict[str, Any]
    cut: list[str]
    problems: list[Problem]
    file_names: list[Any]
    sizes: list[Size | None]
    image_of: dict[Any, int]
    label_of: dict[Any, int]
    class_names: list[str]
    entries: np.ndarray
    image_index: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    counts: list[bytes | None]
    reading: Reading = RGB
    load_image: Callable[[int], np.ndarray] | None = None

    def bad_images(self) -> set[int]:
        """Returns the indices of images with an entry or a file that cannot be used."""
        errors = (p for p in self.problems if p.severity == ERROR and p.annotation is None)
        return {problem.image for problem in errors if problem.image is not None}


def printable(text: str, length: int = 400) -> str:
    """Returns one line of at most `length` characters, without control characters."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."
