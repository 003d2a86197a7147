"""Reads windows of an image as pictures. The file may be broken in parts."""

from collections.abc import Callable

import numpy as np

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import Source
from keras_maskrcnn.typing import OnError, Size
from keras_maskrcnn.visualize.look import Bands, Look, Stretch, look_of, needs_pixels

_SMALLEST = 256  # pixels; a window of this side that cannot be read becomes gray
_GRAY = 128
_SAMPLE = 1024  # pixels; the longer side of the copy that percentiles are taken of


def look_at(
    source: Source, bands: Bands = None, stretch: Stretch = None, on_error: OnError = "raise"
) -> Look:
    """Decides how an image is shown, with percentiles of a copy of at most 1024 pixels a side.

    Args:
        source: the image.
        bands, stretch: as in `visualize.as_rgb`.
        on_error: "raise", or "skip": parts that cannot be read do not count.

    Raises:
        ValueError: if there is no such band or stretch.
        DataError: with "raise", if the file is broken.
    """
    if not needs_pixels(stretch, source.image_dtype):
        return look_of(np.zeros((1, 1, source.channels), source.image_dtype), bands, stretch)
    scale = min(1, _SAMPLE / max(source.height, source.width))
    size = max(1, round(source.height * scale)), max(1, round(source.width * scale))
    window = (0, 0, source.height, source.width)
    if on_error == "raise":
        return look_of(source.read(*window, size=size), bands, stretch)

    def missing(size):
        return np.full((*size, source.channels), np.nan, np.float32)

    sample = _read(source, window, size, lambda pixels: pixels.astype(np.float32), missing)
    return look_of(sample, bands, stretch)


def read_window(
    source: Source,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Size | None = None,
    on_error: OnError = "raise",
    look: Look | None = None,
) -> np.ndarray:
    """Reads a window as `Source.read` does; with "skip", parts that cannot be read are gray.

    Args:
        source: the image.
        top, left, height, width: int, in pixels.
        size: (height, width) of the result; None for the window's own.
        on_error: "raise" or "skip".
        look: how the image is shown; None for `look_at(source)`.

    Returns:
        (height, width, 3) or (*size, 3) uint8.

    Raises:
        DataError: with "raise", if the file is broken in this window.
    """
    look = look_at(source, on_error=on_error) if look is None else look
    size = (height, width) if size is None else size
    window = (top, left, height, width)
    if on_error == "raise":
        return look.picture(source.read(*window, size=size))
    return _read(source, window, size, look.picture, _gray)


def _gray(size):
    """Returns what is shown in place of a window that cannot be read."""
    return np.full((*size, 3), _GRAY, np.uint8)


def _read(
    source: Source,
    window: tuple[int, int, int, int],
    size: Size,
    convert: Callable[[np.ndarray], np.ndarray],
    missing: Callable[[Size], np.ndarray],
) -> np.ndarray:
    """Reads a window and converts it; cuts it in halves around parts that cannot be read."""
    try:
        return convert(source.read(*window, size=size))
    except DataError:
        pass
    top, left, height, width = window
    axis = 0 if height >= width else 1
    if (height, width)[axis] <= _SMALLEST or size[axis] < 2:
        return missing(size)
    half, length = size[axis] // 2, (height, width)[axis]
    cut = max(1, length * half // size[axis])
    if axis == 0:
        windows = [(top, left, cut, width), (top + cut, left, height - cut, width)]
        sizes = [(half, size[1]), (size[0] - half, size[1])]
    else:
        windows = [(top, left, height, cut), (top, left + cut, height, width - cut)]
        sizes = [(size[0], half), (size[0], size[1] - half)]
    parts = [
        _read(source, part, part_size, convert, missing)
        for part, part_size in zip(windows, sizes, strict=True)
    ]
    return np.concatenate(parts, axis=axis)
