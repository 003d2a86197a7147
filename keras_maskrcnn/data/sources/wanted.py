"""What the windows of an image shall be: how many bands, and of which dtype."""

from typing import NamedTuple

import numpy as np

from keras_maskrcnn.data.bands import (
    MAX_CHANNELS,
    WRONG_BANDS,
    Reading,
    check_bands,
    check_dtype,
)
from keras_maskrcnn.data.errors import DataError


class Wanted(NamedTuple):
    """Bands and dtype of windows.

    Attributes:
        channels: int; None for as many bands as the image has.
        image_dtype: "uint8", "uint16" or "float32"; None for the dtype of the image, where other
            numbers than unsigned ones of 8 and 16 bits become float32.
    """

    channels: int | None = 3
    image_dtype: str | None = "uint8"

    @property
    def is_rgb(self) -> bool:
        """Whether windows are 8-bit RGB, which all sources read from all that they know."""
        return self == RGB

    def reading(
        self, found: int, dtype: np.typing.DTypeLike, where: str, *, colors: bool
    ) -> Reading:
        """Decides what the windows of an image are.

        Args:
            found: int. Bands of the image.
            dtype: of the image.
            where: str. The beginning of messages.
            colors: as in `data.bands.fit`.

        Raises:
            DataError: if these bands or this dtype cannot become what is wanted.
            ValueError: if nothing can be of that many channels or of that dtype.
        """
        if self.channels is None and found > MAX_CHANNELS:
            line = f"{where}: an image must have 1 to {MAX_CHANNELS} bands."
            raise DataError(f"{line} Received: {found} bands.", WRONG_BANDS)
        stored = np.dtype(dtype).name if np.dtype(dtype).name in ("uint8", "uint16") else "float32"
        reading = Reading(
            found if self.channels is None else self.channels,
            stored if self.image_dtype is None else self.image_dtype,
        )
        check_bands(found, where, reading.channels, colors=colors)
        check_dtype(dtype, where, reading.image_dtype)
        return reading


RGB = Wanted()
