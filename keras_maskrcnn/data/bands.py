"""Fits pixels to the number of bands and the dtype that a data set asks for.

A band is one channel of an image. `Reading` says what a data set's images become.
"""

import dataclasses
import math
import operator
from typing import Any, Self

import numpy as np

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.orientation import check_orientation
from keras_maskrcnn.typing import Orientation

WHITES = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""The dtypes of pixels, and the value that is white in each unless `pixel_max` says otherwise."""
MAX_CHANNELS = 32
WRONG_BANDS = "wrong number of bands"
WRONG_DTYPE = "wrong dtype of pixels"
# Pillow's weights of red, green and blue in gray (ITU-R BT.601), times 65536.
_LUMA = (19595, 38470, 7471)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How the pixels of images are read: 8-bit RGB by default.

    Attributes:
        channels: int in 1..32. Number of bands.
        image_dtype: "uint8", "uint16" or "float32".
        pixel_max: float > 0. The value that is white. Batches hold pixels times 255 / pixel_max.
            None: 255 for uint8, 65535 for uint16, 1 for float32.
        orientation: "ignore": pixels are as stored. "apply": pixels are turned upright by the
            orientation tag (EXIF) of their file.

    Raises:
        ValueError: if a value is not as above.
    """

    channels: int = 3
    image_dtype: str = "uint8"
    pixel_max: Any = None
    orientation: Orientation = "ignore"

    def __post_init__(self) -> None:
        try:
            fits = 1 <= operator.index(self.channels) <= MAX_CHANNELS
        except TypeError:
            fits = False
        if not fits:
            line = f"channels must be a whole number in 1..{MAX_CHANNELS}."
            raise ValueError(f"{line} Received: channels={self.channels!r}.")
        if self.image_dtype not in WHITES:
            line = f"image_dtype must be one of {', '.join(map(repr, WHITES))}."
            raise ValueError(f"{line} Received: image_dtype={self.image_dtype!r}.")
        white = WHITES[self.image_dtype] if self.pixel_max is None else self.pixel_max
        try:
            fits = math.isfinite(white) and white > 0
        except TypeError:
            fits = False
        if not fits:
            line = "pixel_max must be a number above 0."
            raise ValueError(f"{line} Received: pixel_max={self.pixel_max!r}.")
        limit = {"uint8": (0, 255), "uint16": (255, math.inf)}.get(self.image_dtype, (0, math.inf))
        if not limit[0] < white <= limit[1]:
            line = "pixel_max must be at most 255 for uint8, and above 255 for uint16."
            received = f"pixel_max={self.pixel_max!r}, image_dtype={self.image_dtype!r}"
            raise ValueError(f"{line} Received: {received}.")
        check_orientation(self.orientation)
        object.__setattr__(self, "channels", operator.index(self.channels))
        object.__setattr__(self, "pixel_max", float(white))

    @classmethod
    def of(cls, dataset: Any) -> Self:
        """Returns how a data set's images are read. A missing attribute is that of 8-bit RGB."""
        default = cls()
        found: dict[str, Any] = {
            name: getattr(dataset, name, getattr(default, name))
            for name in ("channels", "image_dtype", "orientation")
        }
        return cls(**found, pixel_max=getattr(dataset, "pixel_max", None))

    @property
    def is_rgb(self) -> bool:
        """Whether images become 8-bit RGB, as `data.images.read_image` reads them."""
        return self.channels == 3 and self.image_dtype == "uint8"

    def of_files(self) -> dict[str, Any]:
        """Returns the arguments `channels` and `dtype` of `data.read_pixels`."""
        return {"channels": self.channels, "dtype": self.image_dtype}

    def fields(self) -> dict[str, Any]:
        """Returns the attributes, as the readers of data sets take them."""
        return dataclasses.asdict(self)


def fit(
    pixels: np.ndarray, where: str, channels: int, dtype: str, *, colors: bool = True
) -> np.ndarray:
    """Converts pixels to a number of bands and a dtype. It never invents what a file lacks.

    Gray is repeated for 3 channels, and colors become gray for 1 channel, by Pillow's weights.
    Alpha is dropped, unless as many channels are asked for as there are bands. uint8 is the high
    byte of uint16. float32 has the values of any other dtype. Everything else is refused.

    Args:
        pixels: (H, W) or (H, W, K).
        where: str. The beginning of messages.
        channels, dtype: as in `data.pixels.read_pixels`.
        colors: whether the bands are gray, gray and alpha, RGB, or RGBA if K is 1, 2, 3, or 4.
            If False, bands have no meaning, and only gray is repeated.

    Returns:
        (H, W, channels), contiguous and writable; it may be the memory of `pixels`.

    Raises:
        DataError: if K bands or their dtype do not fit, or a number is NaN or infinite.
    """
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    check_bands(pixels.shape[2], where, channels, colors=colors)
    check_dtype(pixels.dtype, where, dtype)
    pixels = _cast(_banded(pixels, channels), dtype)
    if dtype == "float32" and not np.isfinite(pixels).all():
        wrong = np.count_nonzero(~np.isfinite(pixels))
        line = f"{where}: the numbers of an image must be finite and fit float32; replace missing"
        line += f" pixels by a number. Received: {wrong} of {pixels.size} that are NaN or infinite."
        raise DataError(line, "unreadable image")
    return np.require(pixels, requirements=["C", "W"])


def check_bands(found: int, where: str, channels: int, *, colors: bool) -> None:
    """Raises DataError if `fit` cannot make `channels` of the bands that were found."""
    from_colors = colors and channels in (1, 3) and 1 <= found <= 4
    if found == channels or from_colors or (found == 1 and channels == 3):
        return
    bands = f"{channels} band{'s' if channels > 1 else ''}"
    line = f"{where}: an image must have {bands} (channels={channels})."
    raise DataError(f"{line} Received: {found} band{'s' if found > 1 else ''}.", WRONG_BANDS)


def check_dtype(found: np.typing.DTypeLike, where: str, dtype: str) -> None:
    """Raises DataError if `fit` cannot turn the dtype that was found into `dtype`."""
    found = np.dtype(found)
    kind, width = found.kind, found.itemsize
    if (
        (dtype == "float32" and kind in "uif" and width <= 8)
        or (dtype == "uint16" and kind == "u" and width == 2)
        or (dtype == "uint8" and kind == "u" and width <= 2)
    ):
        return
    kinds = {
        "uint8": "uint8 or uint16, or image_dtype='float32'",
        "uint16": "uint16; 8 bits are read with image_dtype='uint8' or 'float32', other numbers"
        " with image_dtype='float32'",
        "float32": "integers or floats",
    }
    line = f"{where}: pixels must be {kinds[dtype]}."
    raise DataError(f"{line} Received: dtype={found}, image_dtype={dtype!r}.", WRONG_DTYPE)


def luma(pixels: np.ndarray) -> np.ndarray:
    """Returns the gray of colors, (H, W, 3) to (H, W, 1), with Pillow's weights and rounding."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:  # the sum fits 32 bits
        red, green, blue = (band.astype(np.uint32) for band in (red, green, blue))
        gray = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + 0x8000) >> 16
        return gray.astype(pixels.dtype)[..., None]
    shares = np.array(_LUMA) / 65536
    return (pixels.astype(np.float64) @ shares).astype(np.float32)[..., None]


def _banded(pixels, channels):
    """Makes the bands that `check_bands` allows."""
    found = pixels.shape[2]
    if found == channels:
        return pixels
    if found == 2:  # gray and alpha
        pixels = pixels[..., :1]
    if pixels.shape[2] == 1:
        return np.repeat(pixels, channels, axis=2) if channels == 3 else pixels
    return luma(pixels[..., :3]) if channels == 1 else pixels[..., :3]


def _cast(pixels, dtype):
    """Makes the dtype that `check_dtype` allows."""
    if dtype == "float32":
        with np.errstate(over="ignore"):  # `fit` says it in one line
            return pixels.astype(np.float32, copy=False)
    if dtype == "uint8" and pixels.dtype.itemsize == 2:
        pixels = pixels >> 8
    return pixels.astype(dtype, copy=False)
