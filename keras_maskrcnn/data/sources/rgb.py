"""Arrays of gray or colored pixels to 8-bit RGB, as `data.images` does it for files."""

from collections.abc import Sequence

import numpy as np

from keras_maskrcnn.data.sources.wanted import RGB, Wanted

KINDS = "(H, W) or (H, W, 1, 3 or 4), uint8 or uint16"
_ANY = "(H, W) or (H, W, bands) of numbers"


def problem(shape: Sequence[int], dtype: np.typing.DTypeLike, wanted: Wanted = RGB) -> str:
    """Says why an array cannot be used as an image; empty if it can.

    If not 8-bit RGB is wanted, `Wanted.reading` says more.

    Args:
        shape: sequence of int.
        dtype: dtype of the array.
        wanted: the bands and the dtype of windows.

    Returns:
        str: a sentence without its end, "an image must be ... Received: ...".
    """
    shape = tuple(shape)
    dtype = np.dtype(dtype)
    if not wanted.is_rgb:
        if len(shape) in (2, 3) and min(shape) > 0 and dtype.kind in "uif":
            return ""
        return f"an image must be {_ANY}. Received: shape={shape}, dtype={dtype}"
    sized = len(shape) in (2, 3) and (len(shape) == 2 or shape[2] in (1, 3, 4))
    if sized and min(shape) > 0 and dtype.kind == "u" and dtype.itemsize <= 2:
        return ""
    return f"an image must be {KINDS}. Received: shape={shape}, dtype={dtype}"


def as_rgb(pixels: np.ndarray) -> np.ndarray:
    """Converts pixels to 8-bit RGB: the high byte of 16 bits, gray three times, alpha dropped.

    Args:
        pixels: (H, W) or (H, W, 1, 3 or 4) uint8 or uint16.

    Returns:
        (H, W, 3) uint8, contiguous and writable; never memory of `pixels`.
    """
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return np.array(pixels[..., :3], order="C")
