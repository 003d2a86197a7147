"""Checks whether the box and the area of an annotation agree with its mask."""

from typing import Any

import numpy as np
from pycocotools import mask as mask_api

# A box and the extent of its mask disagree below this IoU if a side also differs by more than 2
# pixels. For tiny instances a fraction of a pixel changes the IoU a lot.
BOX_MASK_IOU, BOX_MASK_PIXELS = 0.7, 2.0
# The area in the json may be half to twice the mask's pixels, and differ by a few pixels more.
AREA_FACTOR, AREA_PIXELS = 2.0, 16.0


def mask_extents(masks: Any) -> np.ndarray:
    """Returns the smallest boxes around n masks, (n, 4) float64 [x1, y1, x2, y2]; 0 if empty."""
    extents = np.reshape(mask_api.toBbox(masks), [-1, 4])
    extents[:, 2:] += extents[:, :2]
    return extents


def disagree(boxes: np.ndarray, extents: np.ndarray) -> np.ndarray:
    """Returns which boxes (n, 4) disagree with the extents of their masks, (n,) bool."""
    corner, end = np.maximum(boxes[:, :2], extents[:, :2]), np.minimum(boxes[:, 2:], extents[:, 2:])
    inside = np.maximum(end - corner, 0).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    areas += (extents[:, 2:] - extents[:, :2]).prod(axis=1)
    off = np.abs(boxes - extents).max(axis=1, initial=0) > BOX_MASK_PIXELS
    return off & (inside < BOX_MASK_IOU * (areas - inside))


def is_area(value: Any, covered: float) -> bool:
    """Whether a value of any type can be the area of a mask with `covered` pixels."""
    low, high = covered / AREA_FACTOR - AREA_PIXELS, covered * AREA_FACTOR + AREA_PIXELS
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and max(low, 0) <= value <= high


def xywh(box: np.ndarray) -> list[float]:
    """Returns [x1, y1, x2, y2] as COCO's [x, y, width, height]."""
    return [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]
