"""Windows of an OME-Zarr image: a zarr group with one array per level of a pyramid."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.rgb import as_rgb, problem
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted

_MICRONS_OF = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "meter": 1e6}


class OmeZarrSource(Source):
    """Windows of the first image of an OME-Zarr group, at its first time and depth.

    For 8-bit RGB, three channels are red, green and blue. Of any other number the first is used, as
    gray. If something else is wanted, each channel is a band.

    Args:
        arrays: list of arrays, the largest first, with the axes of `multiscale`.
        multiscale: dict. The entry of `multiscales` in the group's attributes.
        name: str. The folder, for messages.
        wanted: the bands and the dtype of windows.

    Raises:
        ValueError: if the axes do not end with y and x, or if an array is no image.
        DataError: if it has other bands or another dtype than wanted.
    """

    def __init__(
        self,
        arrays: Sequence[Any],
        multiscale: Mapping[str, Any],
        name: str,
        wanted: Wanted = RGB,
    ) -> None:
        axes = [axis["name"] for axis in multiscale["axes"]]
        if axes[-2:] != ["y", "x"] or not set(axes) <= {"t", "c", "z", "y", "x"}:
            raise ValueError(f"axes={axes}; they must end with y and x")
        first = arrays[0]
        for array in arrays:
            wrong = problem(array.shape[-2:], array.dtype, wanted)
            if wrong or len(array.shape) != len(axes):
                raise ValueError(wrong or f"shape={array.shape} for axes={axes}")
        self._arrays = list(arrays)
        channels = first.shape[axes.index("c")] if "c" in axes else 1
        if wanted.is_rgb:
            channels = 3 if channels == 3 else 1
        self._colors, self._is_rgb = wanted.is_rgb or channels == 1, wanted.is_rgb
        reading = wanted.reading(channels, first.dtype, name, colors=self._colors)
        # The windows' part before y and x.
        chosen = slice(channels) if channels > 1 else 0
        self._before = tuple(chosen if axis == "c" else 0 for axis in axes[:-2])
        super().__init__(
            name,
            [array.shape[-2:] for array in arrays],
            microns_per_pixel=_microns(multiscale, axes),
            sixteen_bits=np.dtype(first.dtype).itemsize == 2,
            reading=reading,
        )

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of an array, see `Source.read_level`."""
        window = slice(top, top + height), slice(left, left + width)
        try:
            pixels = np.asarray(self._arrays[level][(*self._before, *window)])
        except Exception as error:  # zarr raises nearly everything on broken chunks
            where = f"{top=}, {left=}, {height=}, {width=}, {level=}"
            line = f"{self.name}: a window cannot be read. Received: {error!r} for {where}."
            raise DataError(line, "unreadable image") from error
        pixels = pixels if pixels.ndim == 2 else pixels.transpose(1, 2, 0)
        if self._is_rgb:
            return as_rgb(pixels)
        kind = self.channels, self.image_dtype
        return fit(np.array(pixels), self.name, *kind, colors=self._colors)

    def close(self) -> None:
        """Lets go of the arrays."""
        super().close()
        self._arrays = []


def _microns(multiscale, axes):
    """Returns micrometers per pixel of the first array; None if they are not told or differ."""
    scale = np.ones(len(axes))
    first = multiscale["datasets"][0].get("coordinateTransformations", [])
    told = [
        t["scale"]
        for t in [*first, *multiscale.get("coordinateTransformations", [])]
        if t.get("type") == "scale"
    ]
    for factors in told:
        scale = scale * np.asarray(factors, float)
    units = [axis.get("unit") for axis in multiscale["axes"][-2:]]
    sides = [side * _MICRONS_OF.get(unit, 0) for side, unit in zip(scale[-2:], units, strict=True)]
    square = told and min(sides) > 0 and abs(sides[0] - sides[1]) <= 0.01 * max(sides)
    return float(sum(sides) / 2) if square else None
