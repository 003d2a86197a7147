"""Windows of an image that Pillow reads. Pillow decodes whole images, so it must fit."""

import os

import numpy as np
from PIL import Image

from keras_maskrcnn.data import images, pillow_files, pixels
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.data.sources.wanted import RGB, Wanted
from keras_maskrcnn.typing import Path


class PillowSource(Source):
    """Windows of an image file in a format of `data.images`, of at most `images.MAX_PIXELS`.

    Opening reads the header. The first `read` decodes the whole image, which stays in memory: 3
    bytes per pixel of 8-bit RGB.

    Args:
        path: str, or a PIL image. Of the latter a copy is made.
        wanted: the bands and the dtype of windows.
    """

    def __init__(self, path: Path | Image.Image, wanted: Wanted = RGB) -> None:
        self._pixels: np.ndarray | None = None
        if isinstance(path, Image.Image):
            name, reading = path_of(path), pixels.RGB
            if not wanted.is_rgb:
                path = path.copy()  # without a file, in which there may be more bits
                reading = wanted.reading(*pixels.kind_of(path), name, colors=True)
            self._pixels = pixels.from_pillow(path, **reading.of_files())
            super().__init__(name, [self._pixels.shape[:2]], reading=reading)
        else:
            name, reading = os.fspath(path), pixels.RGB
            size = _size(path)
            if not wanted.is_rgb:
                with pillow_files.open_image(path) as image:
                    reading = wanted.reading(*pixels.kind_of(image), name, colors=True)
            super().__init__(name, [size], reading=reading)
        self._reading = reading

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Cuts a window out of the decoded image, see `Source.read_level`."""
        if self._pixels is None:
            self._pixels, _ = pixels.read_with_remarks(self.name, None, self._reading)
        return self._pixels[top : top + height, left : left + width].copy()

    def close(self) -> None:
        """Lets go of the decoded image."""
        super().close()
        self._pixels = None


def path_of(image: Image.Image) -> str:
    """Returns what messages call a PIL image: its file, if it has one."""
    return str(getattr(image, "filename", "") or "PIL image")


def _size(path):
    """Reads the header; says for an image that is too large what is read in windows."""
    try:
        return images.read_size(path)
    except DataError as error:
        if error.kind != "image too large":
            raise
        line = (
            f"{error} Pillow decodes whole images. Store it as a tiled TIFF, of which windows are"
            " read with the extra tiff: pip install keras3-maskrcnn[tiff]."
        )
        raise DataError(line, error.kind) from error
