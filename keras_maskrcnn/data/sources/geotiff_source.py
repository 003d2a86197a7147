"""Windows of a GeoTIFF, through rasterio, with its place on the earth."""

import math
import os
import warnings
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.data.sources.rgb import as_rgb, problem
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path

_CACHE_BYTES = 2**27  # GDAL's cache of decoded blocks; its default is 5 % of the machine's memory


class GeoTiffSource(Source):
    """Windows of a GeoTIFF, through rasterio.

    For 8-bit RGB, the first three bands are red, green and blue. Of one or two, the first is gray.
    Pixels that have the file's nodata value in all bands become black. If something else is wanted,
    all bands are read, and each number that has the nodata value becomes 0.

    Args:
        path: str. The file. `tiff_page.check` should have passed its first page.
        wanted: the bands and the dtype of windows.

    Raises:
        ImportError: if rasterio is not installed.
        DataError: if the file is broken, its bands have neither 8 nor unsigned 16 bits, or they
            cannot become what is wanted.
    """

    def __init__(self, path: Path, wanted: Wanted = RGB) -> None:
        name = os.fspath(path)
        try:
            import rasterio
        except ModuleNotFoundError as error:
            raise needed(name, "geo", error) from error
        self._env = rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES)
        self._datasets: list[Any] = []
        try:
            with self._env:
                self._open(rasterio, name)
        except rasterio.errors.RasterioError as error:
            line = f"{name}: this GeoTIFF cannot be opened. Received: {error}."
            raise DataError(line, "unreadable image") from error
        first = self._datasets[0]
        self._palette, self._is_rgb = _palette(first), wanted.is_rgb
        try:
            wrong = problem((first.height, first.width), first.dtypes[0], wanted)
            if wrong:
                raise DataError(f"{name}: {wrong}.", "unreadable image")
            reading = self._reading(first, name, wanted)
        except ValueError:
            self.close()
            raise
        located = not first.transform.is_identity
        crs = first.crs if located and first.crs else None
        super().__init__(
            name,
            [(d.height, d.width) for d in self._datasets],
            microns_per_pixel=_microns(crs, first.transform) if crs else None,
            crs=_crs_text(crs) if crs else None,
            transform=tuple(first.transform)[:6] if located else None,
            sixteen_bits=first.dtypes[0] == "uint16" and self._palette is None,
            reading=reading,
        )

    def _reading(self, first, name, wanted):
        """Decides which bands of the file are read, and what windows are."""
        if self._palette is not None:
            self._bands, self._colors = [1], True
            return wanted.reading(3, np.uint8, name, colors=True)
        count = first.count
        if wanted.is_rgb:
            count = 3 if count >= 3 else 1
        self._bands = list(range(1, count + 1))
        red = first.colorinterp[0].name == "red"
        self._colors = wanted.is_rgb or count == 1 or (red and 3 <= count <= 4)
        return wanted.reading(count, first.dtypes[0], name, colors=self._colors)

    def _open(self, rasterio, name):
        """Opens the file once, and once more for each overview."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            first = rasterio.open(name, driver="GTiff")
            self._datasets.append(first)
            for level in range(len(first.overviews(1))):
                self._datasets.append(rasterio.open(name, driver="GTiff", overview_level=level))

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of the file or of an overview, see `Source.read_level`."""
        dataset = self._datasets[level]
        try:
            with self._env:
                window = ((top, top + height), (left, left + width))
                pixels = dataset.read(self._bands, window=window)
        except Exception as error:  # GDAL's errors, and NumPy's
            where = f"{top=}, {left=}, {height=}, {width=}, {level=}"
            cause = error.__cause__ or error
            line = f"{self.name}: a window cannot be read. Received: {cause} for {where}."
            raise DataError(line, "unreadable image") from error
        if not self._is_rgb and self._palette is None:
            return self._fitted(pixels, dataset.nodata)
        if dataset.nodata is not None:
            pixels[:, (pixels == dataset.nodata).all(axis=0)] = 0
        if self._palette is not None:
            colors = self._palette[pixels[0]]
            return fit(colors, self.name, self.channels, self.image_dtype)
        return as_rgb(pixels.transpose(1, 2, 0))

    def _fitted(self, pixels, nodata):
        """Returns (bands, h, w) as (h, w, channels), with 0 where the file has no data."""
        if nodata is not None:
            missing = np.isnan(pixels) if np.isnan(nodata) else pixels == nodata
            pixels[missing] = 0
        kind = self.channels, self.image_dtype
        return fit(pixels.transpose(1, 2, 0), self.name, *kind, colors=self._colors)

    def close(self) -> None:
        """Closes the file."""
        super().close()
        for dataset in self._datasets:
            dataset.close()


def _palette(dataset):
    """Returns the colors of a file whose pixels are indices, (65536 or 256, 3) uint8; else None."""
    if dataset.colorinterp[0].name != "palette":
        return None
    colors = np.zeros([256 ** np.dtype(dataset.dtypes[0]).itemsize, 3], np.uint8)
    for index, color in dataset.colormap(1).items():
        colors[index] = color[:3]
    return colors


def _crs_text(crs):
    """Returns "EPSG:..." where the system has a number, else its WKT."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.to_wkt()


def _microns(crs, transform):
    """Returns micrometers per pixel of a projected system with square pixels; else None."""
    if not crs.is_projected:
        return None
    meters = crs.linear_units_factor[1]
    across, down = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    square = abs(across - down) <= 0.01 * max(across, down)
    return (across + down) / 2 * meters * 1e6 if square else None
