"""What the doctor finds: problems, and all that it read."""

import dataclasses
from typing import Any, Self

import numpy as np

from keras_maskrcnn.data.errors import DataError
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
    """What is wrong, in one line.

    Attributes:
        kind: str. By which like problems are counted.
        severity: "error", training would fail; "dropped", `coco_json` leaves it out; "warning".
        line: str.
        image, annotation: int, index in the json's list; None if it is about none.
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
        """Makes the problem that a `DataError` is."""
        return cls(error.kind, ERROR, str(error), image, annotation)


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """What `examine` read, and all problems.

    Attributes:
        images, annotations: str. The folder and the json file.
        masks, crowds: as in `examine`.
        content: dict. The json's content, of its three lists only the objects.
        cut: names of the lists that hold something else, or are none.
        problems: list of Problem, by severity, then by kind, then in the json's order.
        file_names: of each image of the json, its path on this system, or what is there instead.
        sizes: (height, width) of each image of the json, None where that is no size.
        image_of, label_of: dict of image id to index, and of category id to label.
        class_names: list of str, label 1 first.
        entries: (N,) int. Index in the json of each annotation that training would use.
        image_index: (N,) int. The image of each.
        boxes: (N, 4) float64 [x1, y1, x2, y2] in pixels of the image, clipped to it.
        labels: (N,) int.
        counts: N bytes. COCO's compressed run lengths; None each without `masks`.
    """

    images: str
    annotations: str
    masks: bool
    crowds: str
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

    def bad_images(self) -> set[int]:
        """Indices of the images that themselves, or whose files, cannot be used."""
        errors = (p for p in self.problems if p.severity == ERROR and p.annotation is None)
        return {problem.image for problem in errors if problem.image is not None}


def printable(text: str, length: int = 400) -> str:
    """Returns one line of at most `length` characters, without what controls a terminal."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: length + 1])
    return text if len(text) <= length else text[: length - 3] + "..."
