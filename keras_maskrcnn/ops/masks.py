"""Converts masks between an image's pixels and a box's grid, with NumPy and Pillow.

`mask_sampling.py` has what training does with masks in TensorFlow's graph. This module does without
TensorFlow, because `runtime` pastes the masks of exported models.
"""

import math

import numpy as np
from PIL import Image

from keras_maskrcnn.aliases import moved

__getattr__ = moved(
    __name__,
    {
        "sample": "keras_maskrcnn.ops.mask_sampling:sample",
        "of_class": "keras_maskrcnn.ops.mask_sampling:of_class",
    },
)


def _tent(positions, size):
    """Returns bilinear weights of `size` cells with centers 0.5, 1.5, ... at `positions`."""
    distance = np.abs(positions[:, None] - (np.arange(size, dtype=np.float32) + 0.5))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def paste(
    mask: np.ndarray, box: np.ndarray, height: int, width: int, rule: str = "detectron2"
) -> tuple[np.ndarray, tuple[int, int]]:
    """Resizes a mask to its box and places it in the image (§3.1, Inference).

    Each pixel takes the bilinear value at its center; the mask is zero outside its grid.
    detectron2 does not round the box (layers/mask_ops.py); torchvision does
    (`paste_masks_in_image`).

    Args:
        mask: (m, m) float in [0, 1]. Probabilities on the box's grid.
        box: (4,) float [x1, y1, x2, y2] in pixels of the image.
        height, width: int. Size of the image.
        rule: "detectron2" or "torchvision".

    Returns:
        region: (h, w) float32 in [0, 1]. The part of the image that the box touches.
        origin: (y, x) ints. Position of the region's upper left pixel. Outside the region the mask
            is zero. A box without area, or outside the image, gives a region of size 0.
    """
    if rule == "torchvision":
        mask, box = _on_whole_pixels(mask, box)
    x1, y1, x2, y2 = (float(v) for v in box)
    # The tents of the outermost cells reach half a cell beyond the box.
    reach_x, reach_y = (x2 - x1) / mask.shape[1] / 2, (y2 - y1) / mask.shape[0] / 2
    if reach_x <= 0 or reach_y <= 0:
        return np.zeros((0, 0), np.float32), (0, 0)
    left, right = max(0, math.floor(x1 - reach_x)), min(width, math.ceil(x2 + reach_x))
    top, bottom = max(0, math.floor(y1 - reach_y)), min(height, math.ceil(y2 + reach_y))
    if left >= right or top >= bottom:
        return np.zeros((0, 0), np.float32), (0, 0)
    ys = (np.arange(top, bottom) + 0.5 - y1) / (y2 - y1) * mask.shape[0]
    xs = (np.arange(left, right) + 0.5 - x1) / (x2 - x1) * mask.shape[1]
    # Bilinear interpolation is separable: two matrices, no larger than the box, are enough.
    rows, columns = _tent(ys, mask.shape[0]), _tent(xs, mask.shape[1])
    return rows @ mask.astype(np.float32) @ columns.T, (top, left)


def _on_whole_pixels(mask, box):
    """Changes mask and box so that detectron2's rule gives torchvision's result.

    The mask gets a border of zeros, and the box grows by this border. The box's corners are
    truncated to integers, and its last pixel is included.
    """
    corner, opposite = np.split(np.asarray(box, np.float32), 2)
    half = (opposite - corner) * np.float32(0.5)
    half *= np.float32((mask.shape[0] + 2) / mask.shape[0])
    center = (opposite + corner) * np.float32(0.5)
    first, last = np.trunc(center - half), np.trunc(center + half)
    return np.pad(mask, 1), np.concatenate([first, np.maximum(last + 1, first + 1)])


def paste_binary(
    mask: np.ndarray,
    box: np.ndarray,
    height: int,
    width: int,
    threshold: float = 0.5,
    rule: str = "detectron2",
) -> np.ndarray:
    """Pastes one mask and thresholds it (§3.1: at 0.5).

    Args:
        mask, box, height, width, rule: as in `paste`.
        threshold: float. Values from it on become 1.

    Returns:
        (height, width) uint8 of 0 and 1, in Fortran order, which `pycocotools.mask.encode` needs.
    """
    region, (top, left) = paste(mask, box, height, width, rule)
    pasted = np.zeros((height, width), np.uint8, order="F")
    pasted[top : top + region.shape[0], left : left + region.shape[1]] = region >= threshold
    return pasted


def paste_all(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, rule: str = "detectron2"
) -> np.ndarray:
    """Pastes all masks of an image and thresholds them at 0.5.

    Args:
        masks: (n, m, m) float in [0, 1]. Probabilities on the grids of the boxes.
        boxes: (n, 4) float [x1, y1, x2, y2] in pixels of the image.
        height, width, rule: as in `paste`.

    Returns:
        (n, height, width) bool; n may be 0.
    """
    pasted = np.zeros((len(boxes), height, width), bool)
    for out, mask, box in zip(pasted, masks, boxes, strict=True):
        out[:] = paste_binary(mask, box, height, width, rule=rule)
    return pasted


def crop(mask: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Samples an image-sized mask on a regular grid inside a box: the inverse of `paste`.

    If the grid is coarser than the pixels, the pixels under a cell are averaged, so that thin
    parts do not vanish. Outside the image, the nearest border pixel counts.

    Args:
        mask: (H, W) array of 0 and 1, or of probabilities.
        box: (4,) float [x1, y1, x2, y2] in pixels. Only its part inside the image counts.
        size: int. Cells per side of the result.

    Returns:
        (size, size) uint8 in 0..255: the covered part of each cell times 255; 0 if the box has no
            area inside the image.
    """
    # Not by matrices as in `paste`: the input pipeline calls this from several threads, and the
    # threads of BLAS would slow each other down. Pillow uses one thread.
    x1, y1, x2, y2 = box = np.clip(box, 0, [mask.shape[1], mask.shape[0]] * 2).tolist()
    if x1 >= x2 or y1 >= y2:
        return np.zeros((size, size), np.uint8)
    image = Image.fromarray(np.rint(np.multiply(mask, np.float32(255))).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
