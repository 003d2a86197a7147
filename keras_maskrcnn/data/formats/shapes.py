"""Turns shapes of annotation tools into polygons [x1, y1, x2, y2, ...] in pixels of the image."""

import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

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


def numbers(entry: Mapping[str, Any], keys: Iterable[str], where: str) -> list[float]:
    """Returns the values of `keys` in a dict. They must be numbers below 1e9 in absolute value."""
    for key in keys:
        value = entry.get(key)
        if not isinstance(value, int | float) or not abs(value) < 1e9:
            raise DataError(
                f"{where}: {key} must be a number. Received: {key}={reprlib.repr(value)}."
            )
    return [entry[key] for key in keys]
