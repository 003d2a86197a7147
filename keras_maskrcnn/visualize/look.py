"""Shows pixels of any bands and any dtype as 8-bit RGB: bands are chosen, values are stretched.

Data sets and models keep all bands and the dtype. This is for people's eyes only.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Bands = Sequence[int] | None
"""Numbers of the bands to show, from 1 as GDAL counts: one (gray), or those shown as red, green and
blue. None: the first three."""

Stretch = Literal["none"] | tuple[float, float] | tuple[Literal["values"], float, float] | None
"""What becomes black and white. (2, 98): these percentiles of each band. ("values", 0, 4095): these
values, of all bands. "none": 0 and the largest value of the dtype, which is 1 for floats. None:
"none" for uint8, and (2, 98) for all others."""


PERCENTILES = 2.0, 98.0
_WHITE = {"uint16": 65535.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
_SAMPLE = 2**20  # pixels that percentiles are taken of


@dataclasses.dataclass(frozen=True)
class Look:
    """How pixels become a picture. `look_of` makes one, and all windows of an image can share it.

    Attributes:
        bands: tuple of one to three int from 0. One is gray. Of two, the first is red and the
            second is green.
        low, high: (len(bands),) float64. The values that become black and white. Where they are
            equal, the band is constant, and black.
    """

    bands: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray

    def picture(self, pixels: np.ndarray) -> np.ndarray:
        """Converts pixels.

        Args:
            pixels: (H, W, N) of any numeric dtype. NaN becomes black.

        Returns:
            (H, W, 3) uint8.
        """
        chosen = pixels[..., list(self.bands)]
        if pixels.dtype != np.uint8 or self.low.any() or (self.high != 255).any():
            span = self.high - self.low
            scale = np.divide(255.0, span, out=np.zeros_like(span), where=span > 0)
            with np.errstate(invalid="ignore", over="ignore"):
                values = (chosen.astype(np.float64) - self.low) * scale
            # inf * 0 is NaN, as NaN itself; it is black.
            values = np.clip(np.nan_to_num(values, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)
            chosen = np.rint(values).astype(np.uint8)
        if len(self.bands) == 1:
            return np.repeat(chosen, 3, axis=2)
        missing = 3 - len(self.bands)
        return np.pad(chosen, ((0, 0), (0, 0), (0, missing))) if missing else chosen


def look_of(sample: np.ndarray, bands: Bands = None, stretch: Stretch = None) -> Look:
    """Decides how an image is shown, from its pixels or from a smaller copy of it.

    Percentiles are those of the finite values, in a regular grid of about a million pixels. If both
    are equal, as in an image with few bright pixels, the smallest and the largest value take their
    place.

    Args:
        sample: (H, W, N) of a numeric dtype, N from 1 to 32.
        bands: as in `Bands`.
        stretch: as in `Stretch`.

    Raises:
        ValueError: if there is no such band or stretch.
    """
    chosen = checked_bands(bands, sample.shape[2])
    asked: Any = checked_stretch(stretch)
    if asked is None:
        asked = default_stretch(sample.dtype.name)
    if asked == "none":
        low, high = 0.0, _WHITE.get(sample.dtype.name, 255.0)
        limits = [(low, high)] * len(chosen)
    elif len(asked) == 3:
        limits = [asked[1:]] * len(chosen)
    else:
        step = max(1, int(np.ceil(np.sqrt(sample.shape[0] * sample.shape[1] / _SAMPLE))))
        limits = [
            _limits(sample[::step, ::step, band], sample[..., band], asked) for band in chosen
        ]
    ends = np.array(limits, np.float64)
    return Look(chosen, ends[:, 0], ends[:, 1])


def needs_pixels(stretch: Stretch, image_dtype: str) -> bool:
    """Whether a stretch depends on the pixels of an image, as percentiles do.

    Args:
        stretch: as in `Stretch`.
        image_dtype: str, of the image.

    Raises:
        ValueError: if there is no such stretch.
    """
    asked: Any = checked_stretch(stretch)
    asked = default_stretch(image_dtype) if asked is None else asked
    return asked != "none" and len(asked) == 2


def default_stretch(image_dtype: str) -> Stretch:
    """Returns the stretch of images of a dtype, if none is given.

    Args:
        image_dtype: str, such as `MaskRCNNConfig.image_dtype`.
    """
    return "none" if image_dtype == "uint8" else PERCENTILES


def checked_stretch(stretch: Any) -> Any:
    """Returns a `Stretch` with float numbers; raises ValueError for anything else."""
    if stretch is None or (isinstance(stretch, str) and stretch == "none"):
        return stretch
    try:
        named = not isinstance(stretch, str) and len(stretch) == 3 and stretch[0] == "values"
        low, high = map(float, stretch[1:] if named else stretch)
        if low < high and (np.isfinite([low, high]).all() if named else 0 <= low < high <= 100):
            return ("values", low, high) if named else (low, high)
    except (TypeError, ValueError):
        pass
    raise ValueError(
        'stretch must be "none", two rising percentiles from 0 to 100, or "values" and two rising '
        f"values. Received: stretch={stretch!r}."
    )


def checked_bands(bands: Any, count: int) -> tuple[int, ...]:
    """Returns the indices of the bands to show, from 0; raises ValueError if there are none such.

    Args:
        bands: as in `Bands`; the numbers may be text.
        count: int. Bands of the image.
    """
    if bands is None:
        return tuple(range(min(3, count)))
    try:
        chosen = tuple(int(band) - 1 for band in bands)
        if 1 <= len(chosen) <= 3 and all(0 <= band < count for band in chosen):
            return chosen
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"bands must be one to three numbers from 1 to {count}, the bands of the image. "
        f"Received: bands={bands!r}."
    )


def _limits(sample, band, percentiles):
    """Returns two percentiles of a sample of a band; its smallest and largest value if equal."""
    values = _finite(sample)
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 0.0)
    if not low < high:
        values = _finite(band)
        low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    return low, high


def _finite(values):
    """Returns the finite values, flat."""
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values.ravel()
