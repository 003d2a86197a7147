"""Opens anything that holds an image of any size."""

import contextlib
import os
from typing import Any

from PIL import Image

from keras_maskrcnn.data import images
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.orientation import check_orientation
from keras_maskrcnn.data.pillow_files import orientation_of, tag_of_file
from keras_maskrcnn.data.sources import slide_source, tiff_source, zarr_folder
from keras_maskrcnn.data.sources.array_source import ArraySource, open_npy
from keras_maskrcnn.data.sources.geotiff_source import GeoTiffSource
from keras_maskrcnn.data.sources.pillow_source import PillowSource
from keras_maskrcnn.data.sources.slide_source import SlideSource
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.turned_source import TurnedSource
from keras_maskrcnn.data.sources.wanted import Wanted
from keras_maskrcnn.data.sources.zarr_folder import open_zarr
from keras_maskrcnn.logger import logger
from keras_maskrcnn.typing import Orientation

SUFFIXES = (*images.SUFFIXES, ".btf", ".tf8", ".npy", ".zarr", *slide_source.SUFFIXES)
"""Endings of what is listed in a folder of images. ".zarr" is a folder itself."""


def open_source(
    source: Any,
    channels: int | None = 3,
    image_dtype: str | None = "uint8",
    *,
    orientation: Orientation = "ignore",
) -> Source:
    """Opens an image of any size, of which windows are read.

    A TIFF is known by its first bytes; a .npy file, a slide and a zarr folder by its ending or its
    content. Everything else is read by Pillow, which decodes the whole image.

    For 8-bit RGB, which is the default, gray is repeated, 16 bits are cut to the high byte, and of
    more than three bands the first three are read. All other `channels` must be those of the image,
    as in `data.read_pixels`.

    Args:
        source: str or PathLike of a file or of a zarr folder; an array or anything else with a
            shape, a dtype and slicing: (H, W) or (H, W, 1, 3 or 4) uint8 or uint16, or for other
            than 8-bit RGB (H, W) or (H, W, N) of any numbers; a PIL image; or a `Source`, which is
            returned as it is.
        channels: int in 1..32. Bands of the windows. None: as many as the image has.
        image_dtype: "uint8", "uint16" or "float32". None: that of the image, where other numbers
            than unsigned ones of 8 and 16 bits become float32.
        orientation: what happens to the orientation tag (EXIF) of a file or a PIL image. "ignore":
            windows are of the image as stored. "apply": they are of the upright image. A
            georeferenced image is never turned, because its place is that of the stored pixels.

    Returns:
        `Source`. Close it, or use it in a `with`.

    Raises:
        ImportError: if the kind of file needs an extra. The message names it.
        DataError: if the file is missing, broken, of an unknown kind, or too large for Pillow; or
            if its bands or its dtype do not fit.
        ValueError: if an array is no image, a `Source` has other bands or another dtype, or
            `orientation` is not as above.
        TypeError: for anything else.
    """
    check_orientation(orientation)
    wanted = Wanted(channels, image_dtype)
    if isinstance(source, Source):
        return _fitting(source, wanted)
    if isinstance(source, Image.Image):
        tag = orientation_of(source)
        return _turned(PillowSource(source, wanted), tag, orientation)
    if isinstance(source, str | os.PathLike):
        opened = _open_path(os.fspath(source), wanted)
        return _turned(opened, tag_of_file(source), orientation)
    if hasattr(source, "shape") and hasattr(source, "__getitem__"):
        return ArraySource(source, wanted=wanted)
    raise TypeError(
        "source must be a path, a PIL image, or an array with a shape and slicing. "
        f"Received: {type(source).__name__}."
    )


def _turned(source, tag, orientation):
    """Returns a source that knows its orientation tag, and is turned by it if that is applied."""
    if source.crs is not None or source.transform is not None:
        return source
    if tag != 1 and orientation == "apply":
        return TurnedSource(source, tag)
    source.tag = tag
    return source


def reading(
    source: Any,
    channels: int | None = 3,
    image_dtype: str | None = "uint8",
    *,
    orientation: Orientation = "ignore",
) -> contextlib.AbstractContextManager[Source]:
    """Opens an image for a `with`, which closes it again unless it was a `Source` already.

    Args:
        source, channels, image_dtype, orientation: as in `open_source`.
    """
    opened = open_source(source, channels, image_dtype, orientation=orientation)
    return contextlib.nullcontext(opened) if opened is source else opened


def _fitting(source, wanted):
    """Returns a source that is open; raises ValueError if it does not give what is wanted."""
    pairs = zip(wanted, (source.channels, source.image_dtype), strict=True)
    if all(asked in (None, given) for asked, given in pairs):
        return source
    raise ValueError(
        f"{source.name}: the source must be opened with channels={wanted.channels!r}, "
        f"image_dtype={wanted.image_dtype!r}. Received: channels={source.channels!r}, "
        f"image_dtype={source.image_dtype!r}."
    )


def _open_path(path, wanted):
    """Opens a file or a zarr folder."""
    if os.path.isdir(path):
        if any(os.path.exists(os.path.join(path, file)) for file in zarr_folder.FILES):
            return open_zarr(path, wanted)
        line = f"{path}: a folder that holds no zarr array, so no image."
        raise DataError(line, "unreadable image")
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise DataError(f"{path}: image file does not exist.", "missing image") from error
    except OSError as error:
        line = f"{path}: image cannot be opened. Received: {error}."
        raise DataError(line, "unreadable image") from error
    if not start:
        raise DataError(f"{path}: the file is empty.", "unreadable image")
    if path.lower().endswith(slide_source.SUFFIXES):
        return SlideSource(path, wanted)
    if start.startswith(b"\x93NUMPY"):
        return open_npy(path, wanted)
    if start.startswith(tiff_source.STARTS):
        return _open_tiff(path, wanted)
    return PillowSource(path, wanted)


def _open_tiff(path, wanted):
    """Opens a TIFF with tifffile or rasterio; what they cannot read, with Pillow if it fits."""
    try:
        with tiff_source.opened(path) as tif:
            tiff_source.check_first_page(tif, path)
            located = tiff_source.is_georeferenced(tif)
            source = _open_geotiff(path, wanted) if located else None
            if source is None:
                return tiff_source.TiffSource(tif, path, wanted)
            tif.close()
            return source
    except (ImportError, tiff_source.OtherKind) as error:
        try:
            source = PillowSource(path, wanted)
            source.read(0, 0, 1, 1)  # it decodes the image, so it tells now what it cannot decode
            return source
        except DataError as of_pillow:
            broken = isinstance(error, ImportError) and of_pillow.kind != "image too large"
            raise (of_pillow if broken else error) from None


def _open_geotiff(path, wanted):
    """Opens a GeoTIFF; None, with a warning, if rasterio is missing."""
    try:
        return GeoTiffSource(path, wanted)
    except ImportError as error:
        logger().warning("%s Until then it is read without its place on the earth.", error)
        return None
