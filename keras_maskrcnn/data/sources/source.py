"""The base class of all sources: an image of any size, of which windows are read."""

import math
import operator
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import DARK, DARK_BELOW, tag_remarks
from keras_maskrcnn.typing import Size

# A header of a few bytes may promise any number of pixels that are not stored.
_MAX_PIXELS = 2**40
_BLOCK_PIXELS = 2**24  # what is read at once for a resized window
# Height and width of a block of a larger one: wide, because files are stored row by row.
_BLOCK = 1024, 16384
_RGB = Reading()


class Source:
    """An image of any size, of which windows are read. `open_source` opens one.

    It is a context manager. Several threads may read from it; their reads take turns. Close it when
    no thread reads any more.

    A derived class calls `__init__` and has the method `read_level`. `__init__` refuses images of
    over 2**40 pixels with a DataError.

    Attributes:
        name: str. What messages and outputs call the image: a path, or "array".
        height, width: int, in pixels of the full resolution.
        levels: tuple of (height, width). The full resolution, then the smaller copies of the image
            that the file has.
        microns_per_pixel: float, None if the file does not tell, or tells two numbers that differ.
        crs: str. The coordinate reference system, as "EPSG:32633" or as WKT; None if the image is
            not georeferenced.
        transform: (a, b, c, d, e, f), None if not georeferenced. The upper left corner of the pixel
            in a row and a column is at x = a * column + b * row + c, y = d * column + e * row + f.
        closed: bool.
        sixteen_bits: bool. Whether the pixels have 16 bits, of which `read` gives the high byte.
        channels: int. Bands of what `read` gives.
        image_dtype: "uint8", "uint16" or "float32", of what `read` gives.
        tag: int in 1..8. The orientation tag (EXIF) of the file.
        orientation: "ignore" or "apply". Whether `read` gives the image as stored or upright.
    """

    sixteen_bits = False
    tag, orientation = 1, "ignore"
    channels, image_dtype = 3, "uint8"
    _brightest: int | None = None  # of what was read, if there are 16 bits

    def __init__(
        self,
        name: str,
        levels: Sequence[Size],
        *,
        microns_per_pixel: float | None = None,
        crs: str | None = None,
        transform: tuple[float, ...] | None = None,
        sixteen_bits: bool = False,
        reading: Reading = _RGB,
    ) -> None:
        self.name = name
        self.levels = tuple((int(height), int(width)) for height, width in levels)
        self.height, self.width = self.levels[0]
        if self.height * self.width > _MAX_PIXELS:
            line = f"{name}: an image of over {_MAX_PIXELS} pixels is refused. Received: "
            size = f"width={self.width}, height={self.height}"
            raise DataError(f"{line}{size}.", "image too large")
        self.microns_per_pixel = microns_per_pixel
        self.crs = crs
        self.transform = transform
        self.channels, self.image_dtype = reading.channels, reading.image_dtype
        self.sixteen_bits = sixteen_bits and self.image_dtype == "uint8"
        self._turn = threading.Lock()
        self.closed = False

    def read(
        self, top: int, left: int, height: int, width: int, size: Size | None = None
    ) -> np.ndarray:
        """Reads a window, and resizes it if `size` is given.

        Resizing is Pillow's bilinear one, which antialiases. It starts from the smallest level that
        is not smaller than `size`. Without such levels the result equals Pillow's to the last bit
        for windows of up to 2**24 pixels. Larger ones are read block by block, and a value may
        differ by 1.

        Args:
            top, left: int. Row and column of the window's first pixel, in full resolution.
            height, width: int, at least 1. The window's size; it must lie inside the image.
            size: (height, width) of the result; None for the window's own.

        Returns:
            (height, width, channels) of `image_dtype`, or (*size, channels).

        Raises:
            ValueError: for a window that is not inside the image, or if the source is closed.
            DataError: if a part of the file that the window needs is broken.
        """
        try:
            window = tuple(map(operator.index, (top, left, height, width)))
            size = window[2:] if size is None else tuple(map(operator.index, size))
        except TypeError as error:
            received = f"top={top!r}, left={left!r}, height={height!r}, width={width!r}"
            raise ValueError(
                f"{self.name}: a window needs whole numbers. Received: {received}, size={size!r}."
            ) from error
        top, left, height, width = window
        inside = 0 <= top <= self.height - height and 0 <= left <= self.width - width
        if not inside or height < 1 or width < 1:
            raise ValueError(
                f"{self.name}: a window must lie inside the image of height={self.height}, "
                f"width={self.width}. Received: {top=}, {left=}, {height=}, {width=}."
            )
        if len(size) != 2 or min(size) < 1:
            raise ValueError(
                f"{self.name}: size must be (height, width) of at least 1. Received: {size=}."
            )
        with self._turn:
            if self.closed:
                raise ValueError(f"{self.name}: the source is closed.")
            if size == (height, width):
                return self._pixels_of(0, *window)
            return self._resized(window, size)

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of one level. `read` calls this for one thread at a time.

        Args:
            level: int. Index in `levels`.
            top, left, height, width: int, in pixels of the level, inside it.

        Returns:
            (height, width, channels) of `image_dtype`.
        """
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """Lists the keys of `data.images.REMARKS` that are true of what was read so far."""
        dark = [] if self._brightest is None or self._brightest >= DARK_BELOW else [DARK]
        return [*self.tag_remarks(), *dark]

    def tag_remarks(self, *, sides_tell: bool = False) -> list[str]:
        """Lists the key of `data.images.REMARKS` about the orientation tag, if the file has one.

        Args:
            sides_tell: as in `data.images.read_with_remarks`.
        """
        # Turned sides are square if the stored ones are, which is all that counts.
        return tag_remarks(self.tag, (self.height, self.width), sides_tell, self.orientation)

    def close(self) -> None:
        """Closes the file. Nothing can be read afterwards. A second call does nothing."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pixels_of(self, level, top, left, height, width):
        """Reads a window of a level, and notes how bright it is."""
        pixels = self.read_level(level, top, left, height, width)
        if self.sixteen_bits:
            self._brightest = max(self._brightest or 0, int(pixels.max()))
        return pixels

    def _resized(self, window, size):
        """Reads a window from the level that suits `size`, and resizes it block by block."""
        top, left, height, width = window
        level, (y_scale, x_scale) = self._level(height, width, size)
        # The window in the level's pixels; fractions where the level is no whole share.
        rows, columns = height * y_scale, width * x_scale
        blocks = (math.inf, math.inf) if rows * columns <= _BLOCK_PIXELS else _BLOCK
        rows = _axis(top * y_scale, rows, size[0], self.levels[level][0], blocks[0])
        columns = _axis(left * x_scale, columns, size[1], self.levels[level][1], blocks[1])
        result = np.empty((*size, self.channels), self.image_dtype)
        for out_top, out_bottom, first_row, last_row, y0, y1 in rows:
            for out_left, out_right, first_column, last_column, x0, x1 in columns:
                pixels = self._pixels_of(
                    level, first_row, first_column, last_row - first_row, last_column - first_column
                )
                target = result[out_top:out_bottom, out_left:out_right]
                _resize(pixels, target, (x0, y0, x1, y1))
        return result

    def _level(self, height, width, size):
        """Returns the smallest level in which the window is not smaller than `size`; its scales."""
        best = 0, (1.0, 1.0)
        for i, level in enumerate(self.levels):
            scales = level[0] / self.height, level[1] / self.width
            if height * scales[0] >= size[0] and width * scales[1] >= size[1]:
                best = min(best, (i, scales), key=lambda at: self.levels[at[0]])
        return best


def _resize(pixels, target, box):
    """Resizes a part of some pixels into an array, each band alone."""
    size, filter_ = (target.shape[1], target.shape[0]), Image.Resampling.BILINEAR
    if pixels.shape[2] == 3 and pixels.dtype == np.uint8:
        target[:] = Image.fromarray(pixels).resize(size, filter_, box=box)
        return
    for band in range(pixels.shape[2]):
        # Pillow resizes 8 bits as 8 bits, and all else as float32, which holds 16 bits exactly.
        values = np.ascontiguousarray(pixels[..., band])
        values = values if values.dtype == np.uint8 else values.astype(np.float32)
        resized = np.asarray(Image.fromarray(values).resize(size, filter_, box=box))
        target[..., band] = np.rint(resized) if target.dtype == np.uint16 else resized


def _axis(start, length, out, limit, block):
    """Cuts one axis of a resized window into blocks.

    Args:
        start, length: float. The window, in pixels of the level.
        out: int. Pixels of the result.
        limit: int. Pixels of the level.
        block: pixels of the level that a block may have.

    Returns:
        List of (first, end of the result's block; first, end of the pixels to read; start, end of
        the block in the pixels that were read).
    """
    scale = length / out
    # What Pillow's filter looks at around a pixel. It stops at the window's edge.
    margin = math.ceil(max(scale, 1.0)) + 1
    low, high = math.floor(start + 1e-6), min(math.ceil(start + length - 1e-6), limit)
    step = out if length <= block else max(1, int(block / scale))
    blocks = []
    for first in range(0, out, step):
        end = min(first + step, out)
        begin, finish = start + first * scale, start + end * scale
        read_from = max(low, math.floor(begin) - margin)
        read_to = min(high, math.ceil(finish) + margin)
        blocks.append(
            (
                first,
                end,
                read_from,
                read_to,
                max(begin - read_from, 0.0),
                min(finish - read_from, float(read_to - read_from)),
            )
        )
    return blocks
