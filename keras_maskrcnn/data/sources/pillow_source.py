"""Windows of an image that Pillow reads. Pillow decodes whole images, so it must fit."""

import os

import numpy as np
from PIL import Image

from keras_maskrcnn.data import images
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.sources.source import Source
from keras_maskrcnn.typing import Path


class PillowSource(Source):
    """Windows of an image file in a format of `data.images`, of at most `images.MAX_PIXELS`.

    Opening reads the header. The first `read` decodes the whole image, which stays in memory: 3
    bytes per pixel.

    Args:
        path: str, or a PIL image. Of the latter a copy is made.
    """

    def __init__(self, path: Path | Image.Image) -> None:
        self._pixels: np.ndarray | None = None
        if isinstance(path, Image.Image):
            self._pixels = images.from_pillow(path)
            super().__init__(path_of(path), [self._pixels.shape[:2]])
        else:
            super().__init__(os.fspath(path), [_size(path)])

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Cuts a window out of the decoded image, see `Source.read_level`."""
        if self._pixels is None:
            self._pixels = images.read_image(self.name)
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
