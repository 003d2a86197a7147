"""Turns shapes of annotation tools into polygons [x1, y1, x2, y2, ...] in pixels of the image."""

import math
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data.coco_checks import FEW_POINTS, read_segmentation
from keras_maskrcnn.data.errors import DataError

# A polygon of 100 corners has 99.93 % of its circle's area.
_CORNERS = 100


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """Returns the polygon of a box."""
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def ellipse(
    x: float, y: float, radius_x: float, radius_y: float, angle: float = 0.0
) -> list[float]:
    """Returns the polygon of an ellipse, rotated by `angle` in radians from x towards y."""
    polygon = []
    for i in range(_CORNERS):
        turn = 2 * math.pi * i / _CORNERS
        u, v = radius_x * math.cos(turn), radius_y * math.sin(turn)
        polygon.append(x + u * math.cos(angle) - v * math.sin(angle))
        polygon.append(y + u * math.sin(angle) + v * math.cos(angle))
    return polygon


def turned(polygon: Sequence[float], center: tuple[float, float], angle: float) -> list[float]:
    """Returns a polygon that is rotated around a point by `angle` in radians from x towards y."""
    if not angle:
        return list(polygon)
    points, cos, sin = np.reshape(polygon, [-1, 2]) - center, math.cos(angle), math.sin(angle)
    return (points @ [[cos, sin], [-sin, cos]] + center).ravel().tolist()


def joined(
    parts: Sequence[tuple[Any, str]], height: int, width: int, drop: Callable[[str, str], None]
) -> Any:
    """Joins the parts of an object: polygons if all are, otherwise run lengths.

    Args:
        parts: sequence of (segmentation, where): polygons or run lengths as in a COCO json, and the
            beginning of messages.
        height, width: int. Size of the image.
        drop: function that is called with a reason and a place for each part without an area.

    Returns:
        A segmentation as in a COCO json.
    """
    if len(parts) == 1:
        return parts[0][0]
    if all(isinstance(segmentation, list) for segmentation, _ in parts):
        return [polygon for segmentation, _ in parts for polygon in segmentation]
    encoded = []
    for segmentation, where in parts:
        counts, _ = read_segmentation(segmentation, height, width, where)
        if counts is None:
            drop(FEW_POINTS, where)
        else:
            encoded.append({"size": [height, width], "counts": counts})
    counts = mask_api.merge(encoded)["counts"].decode("ascii")
    return {"size": [height, width], "counts": counts}


def numbers(entry: Mapping[Any, Any], keys: Iterable[Any], where: str) -> list[float]:
    """Returns the values of `keys` in a dict. They must be numbers below 1e9 in absolute value."""
    for key in keys:
        value = entry.get(key)
        if not isinstance(value, int | float) or not abs(value) < 1e9:
            raise DataError(
                f"{where}: {key} must be a number. Received: {key}={reprlib.repr(value)}."
            )
    return [entry[key] for key in keys]
