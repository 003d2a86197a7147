"""Keeps polygons as arrays of numbers, and makes masks from them when they are needed.

A set of COCO's size has 50 million coordinates; as Python floats they take 1.5 GiB. To open it, one
must know whether each box holds a pixel of its mask; drawing all polygons for this takes half of
the time. Therefore coordinates stay in arrays, and `surely_touch` decides nearly all cases by
looking at one column of pixels.
"""

import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

# pycocotools draws on fifths of a pixel, rounds twice, and cuts rows at whole numbers.
_FINE = 5
_SURE = 3.0  # pixels; all of this shortens a run by less


def compact(values: Any) -> "array.array[float] | None":
    """Returns a list of numbers as array("d"), or None for anything else."""
    if type(values) is array.array:
        return values
    if type(values) is not list or not values or type(values[0]) is bool:
        return None
    try:
        return array.array("d", values)
    except (TypeError, OverflowError):
        return None


class Masks(Sequence[bytes]):
    """The compressed run lengths of N masks, each as bytes. Polygons are drawn when they are read.

    Args:
        outlines: list of N. Each is bytes of run lengths, or a list of arrays [x1, y1, ...].
        sizes: (N, 2) int. Height and width of each instance's image.
    """

    def __init__(self, outlines: Sequence[Any], sizes: np.ndarray) -> None:
        self._outlines, self._sizes = outlines, sizes

    def __len__(self) -> int:
        return len(self._outlines)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        outline = self._outlines[index]
        return outline if isinstance(outline, bytes) else draw(outline, *self._sizes[index])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))


def draw(polygons: Iterable[Iterable[float]], height: int, width: int) -> bytes:
    """Returns the compressed run lengths of the union of polygons, as bytes.

    Args:
        polygons: sequence of [x1, y1, x2, y2, ...] with at least 3 points each.
        height, width: int. Size of the image.
    """
    height, width = int(height), int(width)
    drawn = mask_api.frPyObjects([list(polygon) for polygon in polygons], height, width)
    return mask_api.merge(drawn)["counts"]


def surely_touch(
    outlines: Sequence[Sequence["array.array[float]"]], boxes: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Returns for which instances it is certain that the box holds a pixel of the mask.

    It looks at the middle column of the box. The pixels that pycocotools fills lie between the
    column's first and second crossing with the outline, the third and fourth, and so on. It is
    known exactly which edges cross: their ends, in fifths of a pixel, lie on both sides of the
    column. Where they cross is known to one pixel. Therefore a first run of 3 pixels inside the box
    is proof enough.

    Args:
        outlines: list of N, each a list of arrays [x1, y1, x2, y2, ...] of at least 3 points.
        boxes: (N, 4) float [x1, y1, x2, y2] inside the image, with an area.
        sizes: (N, 2) int. Height and width of each instance's image.

    Returns:
        (N,) bool. Also False if a point is not finite or lies outside the image.
    """
    if not outlines:
        return np.zeros(0, bool)
    parts = [part for outline in outlines for part in outline]
    owners = np.repeat(np.arange(len(outlines)), [len(outline) for outline in outlines])
    counts = np.array([len(part) for part in parts]) // 2
    last = np.cumsum(counts) - 1
    first = last - counts + 1
    part_of = np.repeat(np.arange(len(parts)), counts)
    points = np.frombuffer(b"".join(parts)).reshape(-1, 2)
    limits = sizes[owners][:, ::-1][part_of]
    inside = np.logical_and.reduceat(((points >= 0) & (points <= limits)).all(axis=1), first)
    usable = np.ones(len(outlines), bool)
    usable[owners[~inside]] = False

    fine = np.floor(_FINE * np.where(inside[part_of, None], points, 0.0) + 0.5)
    ahead = np.arange(1, len(points) + 1)
    ahead[last] = first  # outlines are closed
    column = np.minimum(np.floor((boxes[:, 0] + boxes[:, 2]) / 2), sizes[:, 1] - 1)
    line = (_FINE * column + _FINE // 2)[owners][part_of] + 0.5
    left = fine[:, 0] < line
    edges = np.flatnonzero(left != left[ahead])
    (x, y), (next_x, next_y) = fine[edges].T, fine[ahead[edges]].T
    crossings = (y + (line[edges] - x) * (next_y - y) / (next_x - x)) / _FINE
    order = np.lexsort([crossings, part_of[edges]])
    crossings, crossed = crossings[order], part_of[edges][order]
    crossed, begin = np.unique(crossed, return_index=True)
    top, bottom = boxes[owners[crossed]][:, [1, 3]].T
    run = np.minimum(crossings[begin + 1], bottom) - np.maximum(crossings[begin], top)
    sure = np.zeros(len(outlines), bool)
    sure[owners[crossed[run >= _SURE]]] = True
    return sure & usable
