"""Makes 8-bit RGB, for pictures, of any image: a file, a PIL image, or an array of any bands."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.data.bands import MAX_CHANNELS
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.sources import Source, open_source
from keras_maskrcnn.typing import Path
from keras_maskrcnn.visualize.look import Bands, Stretch, look_of

Picture = Path | Image.Image | np.ndarray
"""A path, a PIL image, or an array (H, W) or (H, W, bands)."""


def as_rgb(image: Picture, bands: Bands = None, stretch: Stretch = None) -> np.ndarray:
    """Converts an image of any kind to 8-bit RGB, for pictures.

    One band is gray. Of two bands, the first is red and the second green. Of more, the first three
    are red, green and blue, unless `bands` names others.

    Args:
        image: as in `draw`.
        bands: one to three numbers from 1, such as (4, 3, 2) for near infrared, red and green of a
            satellite. One number is gray. None takes the first three.
        stretch: what becomes black and white. (2, 98): these percentiles of each band. ("values",
            0, 4095): these values. "none": 0 and 255, 65535 for uint16, 1 for floats. None: (2, 98)
            for uint16 and for floats, except floats from 0 to 255, as in batches. They and 8 bits
            stay as they are.

    Returns:
        (H, W, 3) uint8. A band of a single value becomes black if it is stretched, and so does NaN.

    Raises:
        ValueError: if an argument has another form than above.
        DataError: if a file cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        image = _read(image, bands, stretch)
    if isinstance(image, Image.Image) and not image.mode.startswith(("I", "F")):
        image = image.convert("RGB")
    image = np.asarray(image)
    shape, dtype = image.shape, image.dtype
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] > MAX_CHANNELS or not image.size:
        raise ValueError(
            "image must be a path, a PIL image, or an array (H, W) or (H, W, bands) of 1 to "
            f"{MAX_CHANNELS} bands. Received: shape={shape}, dtype={dtype}."
        )
    if stretch is None and dtype not in (np.uint8, np.uint16):
        low, high = (image.min(), image.max()) if dtype.kind in "iuf" else (0, np.nan)
        # Floats up to 1 would be black if they were taken as they are.
        if low >= 0 and high <= 255 and not (dtype.kind == "f" and 0 < high <= 1):
            image = np.rint(image).astype(np.uint8)
        elif dtype.kind != "f":
            raise ValueError(
                f"image must have values from 0 to 255, or needs a stretch. Received: "
                f"dtype={dtype}, values from {low} to {high}."
            )
    return look_of(image, bands, stretch).picture(image)


def _read(path, bands, stretch):
    """Reads an image file: as RGB of 8 bits, or as stored if more is asked for or in it."""
    refused = None
    if bands is None and stretch is None:
        try:
            return read_image(path)
        except DataError as error:
            refused = error
    try:
        with open_source(path, None, None) as source:
            return source.read(0, 0, source.height, source.width)
    except (DataError, ImportError) as error:
        raise (refused or error) from None


@contextlib.contextmanager
def shown_source(
    source: Any, bands: Bands = None, stretch: Stretch = None, kind: tuple[int, str] | None = None
) -> Iterator[Source]:
    """Opens an image of any size for a picture, see `data.sources.open_source`.

    Args:
        source: as in `open_source`. A `Source` is shown as it is, and stays open.
        bands, stretch: as in `as_rgb`. If one is given, bands and dtype are read as stored.
        kind: the channels and the dtype that a model read; None if nobody knows. Then it is 8-bit
            RGB if the image can be read so.

    Yields:
        `Source`.
    """
    if isinstance(source, Source):
        yield source
        return
    kinds: list[Any] = [kind] if kind else [(3, "uint8"), (None, None)]
    if bands is not None or stretch is not None:
        kinds = [(None, None)]
    for i, (channels, image_dtype) in enumerate(kinds):
        try:
            opened = open_source(source, channels, image_dtype)
            break
        except ValueError:
            if i + 1 == len(kinds):
                raise
    with opened:
        yield opened
