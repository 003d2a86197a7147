"""Reads images in .npy files: (H, W) or (H, W, C) numbers. Nothing in a file is executed."""

import io
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.pillow_files import MAX_PIXELS
from keras_maskrcnn.typing import Path

START = b"\x93NUMPY"
MAX_NUMBERS = 3 * MAX_PIXELS  # as many as the largest RGB image has


def is_npy(path: Path, content: bytes | None = None) -> bool:
    """Whether a file is named .npy, or a content begins as one."""
    if content is not None:
        return content.startswith(START)
    return os.fspath(path).lower().endswith(".npy")


def read_shape(
    path: Path, content: bytes | None = None
) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    """Reads the header of a .npy file.

    Args:
        path, content: as in `data.images.read_image`.

    Returns:
        ((H, W, C), dtype). C is 1 if the array has two axes.

    Raises:
        DataError: if it is missing, no .npy file, no image, or too large.
    """
    with _opened(path, content) as file:
        shape, _, dtype = _header(path, file)
    return (*shape, 1)[:3], dtype


def read_array(path: Path, content: bytes | None = None) -> np.ndarray:
    """Reads the array of a .npy file.

    Args:
        path, content: as in `data.images.read_image`.

    Returns:
        (H, W) or (H, W, C), in the dtype of the file and the byte order of the machine.

    Raises:
        DataError: as in `read_shape`, and if the file is cut off.
    """
    with _opened(path, content) as file:
        shape, fortran, dtype = _header(path, file)
        count = math.prod(shape)
        stored = file.read(count * dtype.itemsize + 1)
    if len(stored) != count * dtype.itemsize:
        line = f"{path}: the array must have {count * dtype.itemsize} bytes."
        more = "more" if len(stored) > count * dtype.itemsize else len(stored)
        raise DataError(f"{line} Received: {more}.", "unreadable image")
    array = np.frombuffer(stored, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


def check_numbers(path: Path, shape: Sequence[int]) -> None:
    """Refuses an image (H, W, ...) with too many pixels or numbers.

    Raises:
        DataError: with more pixels or numbers than the largest image that Pillow decodes.
    """
    pixels, numbers = shape[0] * shape[1], math.prod(shape)
    if pixels > MAX_PIXELS or numbers > MAX_NUMBERS:
        line = f"{path}: image has over {MAX_PIXELS} pixels or {MAX_NUMBERS} numbers."
        raise DataError(f"{line} Received: shape={tuple(shape)}.", "image too large")


def _opened(path, content):
    try:
        return open(path, "rb") if content is None else io.BytesIO(content)
    except FileNotFoundError as error:
        raise DataError(f"{path}: image file does not exist.", "missing image") from error
    except OSError as error:
        line = f"{path}: image cannot be opened. Received: {error}."
        raise DataError(line, "unreadable image") from error


def _header(path, file):
    """Reads the header of an open file: (shape, whether it is stored column by column, dtype)."""
    try:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](file)
    except Exception as error:  # NumPy raises nearly everything on broken headers
        detail = " ".join(str(error).split()).rstrip(".") or repr(error)
        line = f"{path}: not a .npy file of an image. Received: {detail}."
        raise DataError(line, "unreadable image") from error
    if len(shape) not in (2, 3) or min(shape) < 1 or dtype.kind not in "uif":
        line = f"{path}: an image must be (H, W) or (H, W, C) integers or floats."
        raise DataError(f"{line} Received: shape={shape}, dtype={dtype}.", "unreadable image")
    check_numbers(path, shape)
    return shape, fortran, dtype
