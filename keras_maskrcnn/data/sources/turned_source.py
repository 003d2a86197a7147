"""Windows of an image that is turned upright, as its orientation tag (EXIF) asks for."""

import numpy as np

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.orientation import stored_window, upright, upright_size
from keras_maskrcnn.data.sources.source import Source


class TurnedSource(Source):
    """Windows of the upright image. Only the stored pixels of a window are read.

    Args:
        source: `Source` of the image as stored. This object closes it.
        tag: int in 2..8. The orientation tag of its file.
    """

    def __init__(self, source: Source, tag: int) -> None:
        self._source = source
        super().__init__(
            source.name,
            [upright_size(size, tag) for size in source.levels],
            microns_per_pixel=source.microns_per_pixel,
            sixteen_bits=source.sixteen_bits,
            reading=Reading(source.channels, source.image_dtype),
        )
        self.tag, self.orientation = tag, "apply"

    def read_level(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Reads the stored pixels of a window and turns them, see `Source.read_level`."""
        window = stored_window((top, left, height, width), self.levels[level], self.tag)
        return upright(self._source.read_level(level, *window), self.tag)

    def close(self) -> None:
        """Closes the file."""
        super().close()
        self._source.close()
