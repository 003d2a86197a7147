"""Windows of an array: NumPy, memmap, zarr, or anything with a shape, a dtype and slicing."""

import os
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.rgb import as_rgb, problem
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path


class ArraySource(Source):
    """Windows of an array. The array may lie on disk: only windows of it are read.

    Args:
        array: (H, W) or (H, W, 1, 3 or 4) uint8 or uint16. Of 16 bits the high byte is used, as in
            `data.images`. If not 8-bit RGB is wanted: (H, W) or (H, W, N) of any numbers. Slicing
            it must give something that `numpy.asarray` takes.
        name: str. What messages call it; None for the file of a memmap, or "array".
        wanted: the bands and the dtype of windows.
    """

    def __init__(self, array: Any, name: str | None = None, wanted: Wanted = RGB) -> None:
        name = str(getattr(array, "filename", None) or "array") if name is None else name
        shape = tuple(array.shape)
        self._colors = len(shape) == 2 or shape[2:] != (2,)
        try:
            dtype = np.dtype(getattr(array, "dtype", None) or "V")
            wrong = problem(shape, dtype, wanted)
        except TypeError:  # a dtype of another library
            wrong = f"an array must have a dtype of numpy. Received: dtype={array.dtype}"
        if wrong:
            raise ValueError(f"{name}: {wrong}.")
        reading = wanted.reading((*shape, 1)[2], dtype, name, colors=self._colors)
        super().__init__(name, [shape[:2]], sixteen_bits=dtype == np.uint16, reading=reading)
        self._array, self._is_rgb = array, wanted.is_rgb

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of the array, see `Source.read_level`."""
        try:
            pixels = np.asarray(self._array[top : top + height, left : left + width])
        except Exception as error:  # lazily read arrays raise what their libraries raise
            where = f"{top=}, {left=}, {height=}, {width=}"
            line = f"{self.name}: a window cannot be read. Received: {error!r} for {where}."
            raise DataError(line, "unreadable image") from error
        if self._is_rgb:
            return as_rgb(pixels)
        kind = self.channels, self.image_dtype
        return fit(np.array(pixels), self.name, *kind, colors=self._colors)

    def close(self) -> None:
        """Lets go of the array. Nothing can be read afterwards."""
        super().close()
        self._array = None


def open_npy(path: Path, wanted: Wanted = RGB) -> ArraySource:
    """Opens a .npy file without reading it whole, see `ArraySource`.

    Args:
        path: str. The file.
        wanted: the bands and the dtype of windows.

    Raises:
        DataError: if it is no such file, is cut off, or holds something else than an image.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return ArraySource(array, os.fspath(path), wanted)
    except DataError:  # other bands or another dtype than wanted
        raise
    except Exception as error:  # NumPy raises nearly everything on broken headers
        detail = str(error).removeprefix(f"{os.fspath(path)}: ").rstrip(".")
        line = f"{os.fspath(path)}: not a .npy file of an image. Received: {detail}."
        raise DataError(line, "unreadable image") from error
