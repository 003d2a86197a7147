"""Decodes windows of one page of a TIFF, and refuses pages that lie about themselves.

A page stores its pixels in parts: tiles, or strips of whole rows. tifffile finds and decodes them.
"""

import collections
import io
import math
from collections.abc import Hashable
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import MAX_PIXELS

# Limits for one part, which is decoded whole. Real tiles have thousands of pixels.
PART_PIXELS = 2**24
_PART_BYTES = 3 * MAX_PIXELS  # as much as an image that Pillow decodes
_SPARE = 2**20  # bytes that a compressed part may have beyond twice its pixels
_CACHE_BYTES = 2**27  # decoded parts that are kept, because the next window touches them, too

_NONE = 1
_LOSSLESS = (5, 8, 32946, 32773, 34925, 50000)  # LZW, deflate (2), PackBits, LZMA, Zstandard
_IMAGES = (7, 34712, 50001)  # JPEG, JPEG 2000, WebP: files inside the file, with sizes of their own
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


class PartCache:
    """Decoded parts by their keys, at most `_CACHE_BYTES` of them and the last one."""

    def __init__(self) -> None:
        self._parts: collections.OrderedDict[Any, np.ndarray] = collections.OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> np.ndarray | None:
        """Returns the part of a key, None if it is not here."""
        if key in self._parts:
            self._parts.move_to_end(key)
        return self._parts.get(key)

    def add(self, key: Hashable, part: np.ndarray) -> None:
        """Keeps a part, and forgets those that were used longest ago."""
        self._parts[key] = part
        self._bytes += part.nbytes
        while self._bytes > _CACHE_BYTES and len(self._parts) > 1:
            self._bytes -= self._parts.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Forgets all parts."""
        self._parts.clear()
        self._bytes = 0


def unsupported(page: Any, as_stored: bool = False) -> str:
    """Says why `TiffPage` cannot read a page, as "name=value, ..."; empty if it can.

    Args:
        page: tifffile.TiffPage.
        as_stored: as in `TiffPage`. Then integers and floats of any size are read.
    """
    samples, colors, dtype = page.samplesperpixel, page.photometric, page.dtype
    known = dtype in (np.uint8, np.uint16)
    if as_stored and dtype is not None:
        known = dtype.kind in "uif" and dtype.itemsize >= (2 if dtype.kind == "f" else 1)
    readable = (
        known
        and page.bitspersample == 8 * dtype.itemsize
        and page.imagedepth == 1
        and page.tiledepth == 1
        and page.fillorder == 1
        and page.compression in (_NONE, *_LOSSLESS, *_IMAGES)
        and page.predictor in ((1, 2, 3) if dtype.kind == "f" else (1, 2))
        and (
            (colors in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) and samples >= 1)
            or (colors == _RGB and samples >= 3)
            or (colors == _PALETTE and samples == 1 and page.colormap is not None)
            or (colors == _YCBCR and samples == 3 and page.compression == 7)
        )
    )
    if readable:
        return ""
    return (
        f"bits={page.bitspersample}, samples={samples}, sample_format={int(page.sampleformat)}, "
        f"compression={int(page.compression)}, photometric={int(colors)}"
    )


def check(page: Any, name: str, file_bytes: int) -> None:
    """Refuses a page that promises what the file does not hold, before anything is allocated.

    Args:
        page: tifffile.TiffPage.
        name: str. The file, for messages.
        file_bytes: int. Size of the file.

    Raises:
        DataError: if the page has other parts than its size needs, or larger ones, or if one lies
            behind the file's end.
    """
    sides = f"width={page.imagewidth}, height={page.imagelength}"
    if min(page.imagewidth, page.imagelength) < 1:
        raise DataError(f"{name}: a TIFF without pixels. Received: {sides}.", "unreadable image")
    height, width = _part_size(page)
    if height < 1 or width < 1:
        line = f"{name}: a TIFF with empty parts. Received: part_width={width}, "
        raise DataError(f"{line}part_height={height}.", "unreadable image")
    refused = f"{name}: a TIFF with more or larger parts than its size needs is refused. Received:"
    part = f"part_width={width}, part_height={height}"
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    part_bytes = height * width * samples * math.ceil(_bits(page) / 8)
    too_large = (
        height * width > max(page.imagewidth * page.imagelength, PART_PIXELS)
        or part_bytes > _PART_BYTES
    )
    offsets = np.asarray(page.dataoffsets, np.float64)  # exact up to 2**53
    counts = np.asarray(page.databytecounts, np.float64)
    # Plain strips are read row by row, and the file must have their bytes.
    plain = not page.is_tiled and page.compression == _NONE and counts.all()
    if too_large and not plain:
        raise DataError(f"{refused} {sides}, {part}.", "image too large")
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    parts = math.ceil(page.imagelength / height) * math.ceil(page.imagewidth / width) * planes
    if len(page.dataoffsets) != parts or len(page.databytecounts) != parts:
        count = f"{len(page.dataoffsets)} offsets and {len(page.databytecounts)} lengths of parts"
        line = f"{name}: a TIFF of this size needs {parts} parts. Received: {count}, {sides}, "
        raise DataError(f"{line}{part}.", "unreadable image")
    beyond = np.flatnonzero((counts > 0) & (offsets + counts > file_bytes))
    if beyond.size:
        i = int(beyond[0])
        raise DataError(
            f"{name}: the file is cut off: {len(beyond)} of {parts} {_kind(page)}s are not in it. "
            f"Received: {file_bytes} bytes; {_kind(page)} {i} is {page.databytecounts[i]} bytes "
            f"at offset {page.dataoffsets[i]}.",
            "unreadable image",
        )
    if page.compression == _NONE and not unsupported(page, as_stored=True):
        rows = np.full(parts, height)
        if not page.is_tiled:  # the last strip may have fewer
            last = parts // planes
            rows[last - 1 :: last] = page.imagelength - (last - 1) * height
        short = np.flatnonzero((counts > 0) & (counts < rows * float(part_bytes // height)))
        if short.size:
            i = int(short[0])
            needed = int(rows[i]) * (part_bytes // height)
            line = f"{name}: {_kind(page)} {i} has too few bytes for its {needed} bytes of pixels."
            line += f" Received: {page.databytecounts[i]} bytes, {sides}, {part}."
            raise DataError(line, "unreadable image")
    if page.compression != _NONE and counts.max() > 2 * part_bytes + _SPARE:
        i = int(counts.argmax())
        line = f"{refused} {_kind(page)} {i} of {page.databytecounts[i]} bytes"
        raise DataError(f"{line} for {part_bytes} bytes of pixels.", "image too large")


class TiffPage:
    """Windows of one page that `unsupported` and `check` have passed.

    Args:
        page: tifffile.TiffPage.
        name: str. The file, for messages.
        cache: PartCache, which the pages of a file share.
        as_stored: whether windows have all samples in the dtype of the page. Else they are 8-bit
            RGB.
    """

    def __init__(self, page: Any, name: str, cache: PartCache, as_stored: bool = False) -> None:
        self.height, self.width = page.imagelength, page.imagewidth
        self._page, self._name, self._cache = page, name, cache
        self._file = page.parent.filehandle
        gray = page.samplesperpixel < 3
        self._as_stored, self._dtype = as_stored, np.dtype(np.uint8)
        self._channels = 1 if gray else 3
        if as_stored or page.photometric == _PALETTE:
            self._dtype = page.dtype
        if as_stored:
            self._channels = page.samplesperpixel
        self._plain_strips = page.compression == _NONE and page.predictor == 1 and not page.is_tiled

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window: (height, width, 3) uint8, or (height, width, samples) as stored.

        Palettes are colors in both cases.
        """
        palette = self._page.photometric == _PALETTE
        pixels = np.zeros((height, width, self._channels), self._dtype)
        part_height, part_width = _part_size(self._page)
        across, down = math.ceil(self.width / part_width), math.ceil(self.height / part_height)
        planes = range(self._channels) if self._page.planarconfig == 2 else [None]
        for row in range(top // part_height, (top + height - 1) // part_height + 1):
            for column in range(left // part_width, (left + width - 1) // part_width + 1):
                y, x = row * part_height, column * part_width
                first, last = max(y, top), min(y + part_height, top + height)
                begin, end = max(x, left), min(x + part_width, left + width)
                for plane in planes:
                    index = ((plane or 0) * down + row) * across + column
                    window = first - y, last - y, begin - x, end - x
                    part = self._part_window(index, window)
                    channels = slice(None) if plane is None else slice(plane, plane + 1)
                    target = pixels[first - top : last - top, begin - left : end - left, channels]
                    if part is not None:
                        target[:] = part
        if palette:
            colors = self._page.colormap
            colors = (colors >> 8 if colors.max() > 255 else colors).astype(np.uint8)
            return np.ascontiguousarray(colors.T[pixels[..., 0]])
        gray = self._channels == 1 and not self._as_stored
        return np.repeat(pixels, 3, axis=2) if gray else pixels

    def _part_window(self, index, window):
        """Returns (h, w, channels) of a window in a part; None for a part that is not stored."""
        page = self._page
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        if not offset or not count:  # a sparse file
            return None
        top, bottom, left, right = window
        where = f"{_kind(page)} {index}, {count} bytes at offset {offset}"
        try:
            if self._plain_strips:
                return self._converted(self._rows(offset, window))
            key = page.index, page.offset, index
            part = self._cache.get(key)
            if part is None:
                part = self._converted(self._decode(index, offset, count))
                self._cache.add(key, part)
            return part[top:bottom, left:right]
        except ImportError as error:
            raise error
        except Exception as error:  # decoders raise nearly everything on broken files
            detail = " ".join(str(error).split()) or repr(error)
            line = f"{self._name}: {where}: cannot be decoded. Received: {detail}."
            raise DataError(line, "unreadable image") from error

    def _rows(self, offset, window):
        """Reads the columns of the rows of a strip that is not compressed."""
        top, bottom, left, right = window
        samples = self._page.samplesperpixel if self._page.planarconfig == 1 else 1
        dtype = np.dtype(self._page.parent.byteorder + self._page.dtype.char)
        pixel = samples * dtype.itemsize
        row = self.width * pixel
        if left == 0 and right == self.width:
            content = self._content(offset + top * row, (bottom - top) * row)
        else:
            content = b"".join(
                self._content(offset + y * row + left * pixel, (right - left) * pixel)
                for y in range(top, bottom)
            )
        return np.frombuffer(content, dtype).reshape(bottom - top, right - left, samples)

    def _decode(self, index, offset, count):
        """Decodes a part."""
        page = self._page
        content = self._content(offset, count)
        if page.compression in _IMAGES:
            _check_inner_size(content, _part_size(page))
        data, _, shape = page.decode(content, index, jpegtables=page.jpegtables)
        return data.reshape(shape[1:])

    def _content(self, offset, count):
        """Reads bytes of the file."""
        self._file.seek(offset)
        content = self._file.read(count)
        if len(content) < count:
            raise ValueError(f"the file ends after {len(content)} of {count} bytes")
        return content

    def _converted(self, part):
        """Drops channels that are not needed, and makes 8 bits in which black is 0."""
        part = part[..., : self._channels]
        if self._page.photometric == _PALETTE:
            return part
        if not self._as_stored and part.dtype.itemsize == 2:
            part = part >> 8
        part = part.astype(self._dtype)
        inverted = self._page.photometric == _WHITE_IS_ZERO and part.dtype.kind == "u"
        return ~part if inverted else part


def _part_size(page):
    """Returns (height, width) of the page's tiles or strips."""
    return (
        (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    )


def _kind(page):
    """Returns what messages call the page's parts."""
    return "tile" if page.is_tiled else "strip"


def _bits(page):
    """Returns the bits of the page's largest sample."""
    bits = page.bitspersample
    return max(bits) if isinstance(bits, tuple) else bits


def _check_inner_size(content, size):
    """Refuses a JPEG, JPEG 2000 or WebP that is larger than the part which holds it."""
    with Image.open(io.BytesIO(content), formats=["JPEG", "JPEG2000", "WEBP"]) as image:
        if image.height > size[0] or image.width > size[1]:
            raise ValueError(f"it holds an image of width={image.width}, height={image.height}")
