"""Reads windows of an image whose file may be broken in parts."""

import numpy as np

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import Source
from keras_maskrcnn.typing import OnError, Size

_SMALLEST = 256  # pixels; a window of this side that cannot be read becomes gray
_GRAY = 128


def read_window(
    source: Source,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Size | None = None,
    on_error: OnError = "raise",
) -> np.ndarray:
    """Reads a window as `Source.read` does; with "skip", parts that cannot be read are gray.

    Args:
        source: the image.
        top, left, height, width: int, in pixels.
        size: (height, width) of the result; None for the window's own.
        on_error: "raise" or "skip".

    Returns:
        (height, width, 3) or (*size, 3) uint8.

    Raises:
        DataError: with "raise", if the file is broken in this window.
    """
    size = (height, width) if size is None else size
    try:
        return source.read(top, left, height, width, size=size)
    except DataError:
        if on_error == "raise":
            raise
    axis = 0 if height >= width else 1
    if (height, width)[axis] <= _SMALLEST or size[axis] < 2:
        return np.full((*size, 3), _GRAY, np.uint8)
    half, length = size[axis] // 2, (height, width)[axis]
    cut = max(1, length * half // size[axis])
    if axis == 0:
        windows = [(top, left, cut, width), (top + cut, left, height - cut, width)]
        sizes = [(half, size[1]), (size[0] - half, size[1])]
    else:
        windows = [(top, left, height, cut), (top, left + cut, height, width - cut)]
        sizes = [(size[0], half), (size[0], size[1] - half)]
    parts = [
        read_window(source, *window, part_size, on_error)
        for window, part_size in zip(windows, sizes, strict=True)
    ]
    return np.concatenate(parts, axis=axis)
