"""Windows of whole slide images, through OpenSlide."""

import os

import numpy as np

from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources import tiff_source
from keras_maskrcnn.data.sources.extras import needed
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path

SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu")


class SlideSource(Source):
    """Windows of a whole slide image, in the formats of OpenSlide. Where it has no pixels, it is
    white, or has the background color that the file names.

    Args:
        path: str. The file.
        wanted: the bands and the dtype of windows. Slides are RGB of 8 bits.

    Raises:
        ImportError: if OpenSlide or tifffile is not installed.
        DataError: if OpenSlide does not read the file, if it is a TIFF with absurd tiles, or if
            8-bit RGB cannot become what is wanted.
    """

    def __init__(self, path: Path, wanted: Wanted = RGB) -> None:
        self._path = os.fspath(path)
        reading = wanted.reading(3, np.uint8, self._path, colors=True)
        if tiff_source.is_tiff(path):
            # OpenSlide allocates a tile before it reads it, and ends the process if it cannot.
            tiff_source.check_tiles(path)
        self._slide = self._open()
        slide, properties = self._slide, self._slide.properties
        sides = [_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
        same = None not in sides and abs(sides[0] - sides[1]) <= 0.01 * max(sides)
        color = properties.get("openslide.background-color", "ffffff")
        self._background = np.array(list(bytes.fromhex(color)), np.uint8)
        self._downsamples = slide.level_downsamples
        super().__init__(
            self._path,
            [(height, width) for width, height in slide.level_dimensions],
            microns_per_pixel=sum(sides) / 2 if same and min(sides) > 0 else None,
            reading=reading,
        )

    def _open(self):
        """Opens the file."""
        try:
            import openslide
        except ImportError as error:  # also without OpenSlide's own library
            raise needed(self._path, "slides", error) from error
        try:
            return openslide.OpenSlide(self._path)
        except Exception as error:
            detail = str(error) or repr(error)
            line = f"{self._path}: no whole slide image that OpenSlide reads. Received: {detail}."
            raise DataError(line, "unreadable image") from error

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads a window of a level, see `Source.read_level`."""
        # OpenSlide wants the corner in pixels of the full resolution.
        corner = [round(x * self._downsamples[level]) for x in (left, top)]
        try:
            image = self._slide.read_region(corner, level, (width, height))
        except Exception as error:
            self._slide.close()  # after an error OpenSlide refuses all other windows, too
            self._slide = self._open()
            where = f"{top=}, {left=}, {height=}, {width=}, {level=}"
            line = f"{self.name}: a window cannot be read. Received: {error} for {where}."
            raise DataError(line, "unreadable image") from error
        pixels = np.array(image)
        colors = np.ascontiguousarray(pixels[..., :3])
        colors[pixels[..., 3] == 0] = self._background
        return fit(colors, self.name, self.channels, self.image_dtype)

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._slide.close()
        super().close()


def _number(text):
    """Returns a property as a float, None if it is no number."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
