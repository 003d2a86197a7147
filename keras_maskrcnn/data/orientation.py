"""Turns pixels upright, as the orientation tag of an image file (EXIF) asks for.

Tag 1 is upright. 2 to 4 mirror or turn by 180 degrees. 5 to 8 swap the sides.
"""

from typing import get_args

import numpy as np

from keras_maskrcnn.typing import Orientation, Size

ORIENTATIONS = get_args(Orientation)


def check_orientation(orientation: str) -> None:
    """Raises ValueError if `orientation` is neither "ignore" nor "apply"."""
    if orientation not in ORIENTATIONS:
        line = f"orientation must be one of {', '.join(map(repr, ORIENTATIONS))}."
        raise ValueError(f"{line} Received: orientation={orientation!r}.")


def upright(pixels: np.ndarray, tag: int) -> np.ndarray:
    """Turns stored pixels as Pillow's `ImageOps.exif_transpose` does.

    Args:
        pixels: (H, W) or (H, W, C), as stored.
        tag: int in 1..8.

    Returns:
        The upright pixels, contiguous; with tags 5 to 8 (W, H) or (W, H, C).
    """
    if tag == 1:
        return pixels
    if tag >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if tag in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if tag in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def upright_size(size: Size, tag: int) -> Size:
    """Returns the (height, width) of the upright pixels, of that of the stored ones."""
    return (size[1], size[0]) if tag >= 5 else (size[0], size[1])


def stored_window(window: tuple[int, int, int, int], size: Size, tag: int) -> tuple[int, ...]:
    """Finds the stored pixels that become a window of the upright image.

    Args:
        window: (top, left, height, width) in the upright image.
        size: (height, width) of the upright image.
        tag: int in 1..8.

    Returns:
        (top, left, height, width) in the stored image.
    """
    top, left, height, width = window
    if tag in (3, 4, 7, 8):
        top = size[0] - top - height
    if tag in (2, 3, 6, 7):
        left = size[1] - left - width
    return (left, top, width, height) if tag >= 5 else (top, left, height, width)
