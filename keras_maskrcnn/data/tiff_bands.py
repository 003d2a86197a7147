"""Reads whole TIFFs of any number of bands, of integers or floats, through tifffile.

The bands lie pixel by pixel, plane by plane, or in a page each.
"""

from typing import Any

import numpy as np

from keras_maskrcnn.data import npy
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources import tiff_page, tiff_source
from keras_maskrcnn.data.sources.band_pages import pages_of_bands
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.typing import Path

_NONE = 1
_LOSSLESS = (_NONE, 5, 8, 32946, 32773, 34925, 50000)  # LZW, deflate (2), PackBits, LZMA, Zstandard
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2


def read_tiff(path: Path, content: bytes | None, channels: int) -> tuple[np.ndarray, bool]:
    """Reads the first page of a TIFF, or as many gray pages as there are channels.

    Args:
        path, content: as in `data.images.read_image`.
        channels: int. As in `pages_of_bands`.

    Returns:
        pixels: (H, W, C), in the dtype of the file.
        colors: whether its bands are those of gray, RGB or RGBA.

    Raises:
        ImportError: if tifffile or imagecodecs is needed and not installed.
        DataError: if the file is broken, too large, or of a kind that is not read.
    """
    with tiff_source.opened(path, content=content) as tif:
        pages = pages_of_bands(tif, channels)
        for page in pages:
            _check(page, path, tif.filehandle.size)
        npy.check_numbers(path, (pages[0].imagelength, pages[0].imagewidth, _count(pages)))
        if any(page.compression != _NONE or page.predictor != 1 for page in pages):
            _require_imagecodecs(path)
        try:
            bands = [_decode(page) for page in pages]
        except Exception as error:  # decoders raise nearly everything on broken files
            detail = " ".join(str(error).split()) or repr(error)
            line = f"{path}: image cannot be decoded. Received: {detail}."
            raise DataError(line, "unreadable image") from error
        colors = len(pages) == 1 and (pages[0].photometric == _RGB or bands[0].shape[2] == 1)
        tif.close()
    return bands[0] if len(bands) == 1 else np.concatenate(bands, axis=2), colors


def _count(pages):
    """Returns the number of bands."""
    return sum(page.samplesperpixel for page in pages)


def _check(page, path, file_bytes):
    """Refuses a page that is not read, or that promises more than its file holds."""
    tiff_page.check(page, str(path), file_bytes)
    dtype = page.dtype
    readable = (
        dtype is not None
        and (dtype.kind in "ui" or (dtype.kind == "f" and dtype.itemsize >= 2))
        and page.bitspersample == 8 * dtype.itemsize
        and page.imagedepth == 1
        and page.tiledepth == 1
        and page.fillorder == 1
        and page.compression in _LOSSLESS
        and page.predictor in (1, 2, 3)
        and page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
    )
    if not readable:
        line = f"{path}: a TIFF of this kind is not read; gray, RGB or bands of whole bytes are,"
        line += " without loss. Received: "
        line += (
            f"bits={page.bitspersample}, samples={page.samplesperpixel}, "
            f"sample_format={int(page.sampleformat)}, compression={int(page.compression)}, "
            f"photometric={int(page.photometric)}."
        )
        raise DataError(line, "unreadable image")
    counts = np.asarray(page.databytecounts, np.float64)
    plain = page.compression == _NONE and not page.is_tiled and counts.all()
    needed_bytes = float(page.imagelength) * page.imagewidth * page.samplesperpixel * dtype.itemsize
    if plain and counts.sum() < needed_bytes:
        line = f"{path}: the strips have too few bytes for the pixels, {needed_bytes:.0f}."
        raise DataError(f"{line} Received: {counts.sum():.0f} bytes.", "unreadable image")


def _decode(page: Any) -> np.ndarray:
    """Decodes a page to (H, W, C) in which black is 0."""
    pixels = page.asarray(squeeze=False, maxworkers=1)  # (planes, depth, H, W, samples)
    pixels = pixels[:, 0]
    pixels = np.moveaxis(pixels[..., 0], 0, -1) if page.planarconfig == 2 else pixels[0]
    if page.photometric == _WHITE_IS_ZERO and pixels.dtype.kind == "u":
        pixels = ~pixels
    return pixels


def _require_imagecodecs(path):
    try:
        import imagecodecs  # noqa: F401
    except ImportError as error:
        raise needed(path, "tiff", error) from error
