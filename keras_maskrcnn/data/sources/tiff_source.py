"""Windows of TIFF, BigTIFF and OME-TIFF, through tifffile: only the parts that they touch."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources import tiff_page
from keras_maskrcnn.data.sources.band_pages import pages_of_bands
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.tiff_scale import microns_per_pixel
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # first bytes of TIFF and BigTIFF
_MAX_PAGES = 1000  # of a slide, which has some ten
_MAX_LEVELS = 32  # a pyramid of halves from 2**32 pixels a side
_GEO_TAGS = (33550, 33922, 34264, 34735)  # scale, tie points, transformation, keys


class OtherKind(DataError):
    """A TIFF is not broken, but has pixels of a kind that `TiffSource` does not read."""


class TiffSource(Source):
    """Windows of a TIFF's first page, and of the smaller copies of it that the file has.

    If not 8-bit RGB is wanted, the bands may also be pages, see `pages_of_bands`. Memory is that of
    the window, and 128 MiB for the parts that were decoded last.

    Args:
        tif: tifffile.TiffFile, see `opened`. This object closes it.
        name: str. The file, for messages.
        wanted: the bands and the dtype of windows.

    Raises:
        OtherKind: if the pixels are of a kind that is not read.
        ImportError: if they are compressed and imagecodecs is not installed.
        DataError: if the bands or the dtype cannot become what is wanted.
    """

    def __init__(self, tif: Any, name: str, wanted: Wanted = RGB) -> None:
        page, stored = tif.pages[0], not wanted.is_rgb
        bands = pages_of_bands(tif, wanted.channels) if stored else [page]
        for one in bands:
            if wrong := tiff_page.unsupported(one, stored):
                line = f"{name}: a TIFF of this kind is not read; only gray or RGB is, of 8 bits or"
                line += " of unsigned 16 bits"
                line += ", or bands of numbers" if stored else ""
                raise OtherKind(f"{line}. Received: {wrong}.", "unreadable image")
            if (one.compression != 1 or one.predictor == 3) and not _has_imagecodecs():
                raise needed(name, "tiff")
        for one in bands[1:]:
            tiff_page.check(one, name, tif.filehandle.size)
        count, dtype, colors = _kind(bands) if stored else (3, np.dtype(np.uint8), True)
        self._colors: bool = colors
        reading = wanted.reading(count, dtype, name, colors=self._colors)
        cache = tiff_page.PartCache()
        levels = [bands, *_smaller_bands(tif, name, bands, stored)]
        self._tif, self._cache, self._stored = tif, cache, stored
        self._levels = [
            [tiff_page.TiffPage(p, name, cache, stored) for p in pages] for pages in levels
        ]
        super().__init__(
            name,
            [(pages[0].height, pages[0].width) for pages in self._levels],
            microns_per_pixel=microns_per_pixel(
                page.description,
                _ratio(page.tags.valueof(282)),
                _ratio(page.tags.valueof(283)),
                int(page.tags.valueof(296) or 2),
            ),
            sixteen_bits=page.dtype == np.uint16 and page.colormap is None,
            reading=reading,
        )

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Decodes the parts that a window touches, see `Source.read_level`."""
        windows = [page.read(top, left, height, width) for page in self._levels[level]]
        if not self._stored:
            return windows[0]
        pixels = windows[0] if len(windows) == 1 else np.concatenate(windows, axis=2)
        return fit(pixels, self.name, self.channels, self.image_dtype, colors=self._colors)

    def close(self) -> None:
        """Closes the file, and forgets decoded parts."""
        super().close()
        self._cache.clear()
        self._tif.close()


@contextlib.contextmanager
def opened(path: Path, extra: str = "tiff", content: bytes | None = None) -> Iterator[Any]:
    """Opens a TIFF with tifffile.

    tifffile logs what is wrong with a file. These lines go into the error instead.

    Args:
        path: str. The file.
        extra: str. What to install if tifffile is missing.
        content: bytes of the file, if it is not to be read from `path`.

    Yields:
        tifffile.TiffFile. An error in the block closes it, otherwise it stays open.

    Raises:
        ImportError: if tifffile is not installed.
        DataError: if it is no TIFF, or a broken one.
    """
    path = os.fspath(path)
    try:
        import tifffile
    except ModuleNotFoundError as error:
        raise needed(path, extra, error) from error
    tif: Any = None
    with _messages_of("tifffile") as messages:
        try:
            tif = tifffile.TiffFile(path if content is None else io.BytesIO(content))
            if not tif.pages[0].tags:
                raise ValueError("a page without tags")
            yield tif
        except (DataError, ImportError):
            if tif is not None:
                tif.close()
            raise
        except Exception as error:  # tifffile raises nearly everything on broken files
            if tif is not None:
                tif.close()
            detail = " ".join(f"{error} {' '.join(messages[:1])}".split()) or repr(error)
            line = f"{path}: the header of this TIFF cannot be read. Received: {detail}."
            raise DataError(line, "unreadable image") from error


def is_tiff(path: Path) -> bool:
    """Whether a file begins as TIFF or BigTIFF."""
    with open(path, "rb") as file:
        return file.read(4) in STARTS


def check_first_page(tif: Any, name: str) -> None:
    """Refuses a tifffile.TiffFile whose first page lies, see `tiff_page.check`.

    Args:
        tif: tifffile.TiffFile.
        name: str. The file, for messages.

    Raises:
        DataError: see `tiff_page.check`.
    """
    tiff_page.check(tif.pages[0], name, tif.filehandle.size)


def check_tiles(path: Path) -> None:
    """Refuses a slide that is a TIFF with too many pages, or with a tile of over 2**24 pixels.

    Args:
        path: str. The file.

    Raises:
        ImportError: if tifffile is not installed.
        DataError: if the file is refused, or is a broken TIFF.
    """
    with opened(path, "slides") as tif:
        for i in range(_MAX_PAGES + 1):
            try:
                page = tif.pages[i]
            except IndexError:
                break
            if i == _MAX_PAGES:
                line = f"{path}: a slide of more than {_MAX_PAGES} pages is refused."
                raise DataError(line, "image too large")
            if page.is_tiled and page.tilelength * page.tilewidth > tiff_page.PART_PIXELS:
                tile = f"tile_width={page.tilewidth}, tile_height={page.tilelength}"
                line = f"{path}: a slide with tiles of over {tiff_page.PART_PIXELS} pixels is"
                raise DataError(f"{line} refused. Received: {tile}.", "image too large")
        tif.close()


def is_georeferenced(tif: Any) -> bool:
    """Whether a tifffile.TiffFile is a GeoTIFF."""
    return any(tag in tif.pages[0].tags for tag in _GEO_TAGS)


def _kind(pages):
    """Returns the number of bands of some pages, their dtype, and whether they are colors."""
    first = pages[0]
    if first.photometric in (3, 6):  # a palette, or YCbCr: RGB when they are decoded
        return 3, np.dtype(np.uint8), True
    if len(pages) > 1:
        return len(pages), first.dtype, False
    return first.samplesperpixel, first.dtype, first.photometric == 2 or first.samplesperpixel == 1


def _smaller_bands(tif, name, bands, as_stored):
    """Returns the smaller copies of an image whose bands are pages: a list of pages for each copy.

    Of several pages, only SubIFDs say of which page they are copies.
    """
    if len(bands) > 1 and not all(page.subifds for page in bands):
        return []
    copies = zip(*(_smaller_copies(tif, name, page, as_stored) for page in bands), strict=False)
    sized = [(pages, {(p.imagelength, p.imagewidth) for p in pages}) for pages in copies]
    return [pages for pages, sizes in sized if len(sizes) == 1]


def _smaller_copies(tif, name, first, as_stored):
    """Returns the pages with smaller copies of a page, in its proportions.

    They are its SubIFDs (OME-TIFF, and others), or pages that are marked as reduced (COG).
    """
    if first.subifds:
        candidates = [(first.pages, i) for i in range(min(len(first.subifds), _MAX_LEVELS))]
    else:
        candidates = [(tif.pages, i) for i in range(1, _MAX_LEVELS)]
    found = []
    for pages, i in candidates:
        try:
            page = pages[i]
        except IndexError:
            break
        if not first.subifds and page.subfiletype & 1 == 0:
            continue
        height, width = page.imagelength, page.imagewidth
        smaller = height < first.imagelength and width < first.imagewidth
        if page.subfiletype & 4 or not smaller or tiff_page.unsupported(page, as_stored):
            continue
        other = page.samplesperpixel != first.samplesperpixel or page.dtype != first.dtype
        if as_stored and other:
            continue
        # A thumbnail or a label of a slide has other proportions.
        expected = first.imagelength * width / first.imagewidth
        if abs(height - expected) <= max(2, 0.02 * expected):
            tiff_page.check(page, name, tif.filehandle.size)
            found.append(page)
    return found


def _ratio(value):
    """Returns a rational tag as a float, None if it is missing or no number."""
    try:
        return float(value[0]) / float(value[1])
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None


def _has_imagecodecs():
    """Whether compressed TIFFs can be read."""
    try:
        import imagecodecs  # noqa: F401
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def _messages_of(logger):
    """Collects what a logger logs in the block, in place of its handlers."""
    messages = []

    def collect(record):
        messages.append(record.getMessage())
        return False

    log = logging.getLogger(logger)
    log.addFilter(collect)
    try:
        yield messages
    finally:
        log.removeFilter(collect)
