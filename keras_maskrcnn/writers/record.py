"""What a writer must know about an image."""

import dataclasses
import os

from keras_maskrcnn.typing import Path


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """An image whose objects are written.

    Args:
        file_name: str. The image's name in the outputs, often a path inside the folder of images.
        height: int. Height in pixels.
        width: int. Width in pixels.
        path: str or PathLike. The file, if there is one. VIA's format holds its size in bytes.
        crs: str or None. Coordinate reference system of a georeferenced image: "EPSG:32633" or WKT.
        transform: tuple of 6 floats (a, b, c, d, e, f), or None. A pixel's corner in the reference
            system is x = a * column + b * row + c, y = d * column + e * row + f.
        microns_per_pixel: float or None. Side of a pixel, where it is known.
        channels: int. Bands that the model read, for pictures.
        image_dtype: str. The dtype that it read: "uint8", "uint16" or "float32".
    """

    file_name: str
    height: int
    width: int
    path: Path | None = None
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    microns_per_pixel: float | None = None
    channels: int = 3
    image_dtype: str = "uint8"

    @property
    def posix_name(self) -> str:
        """`file_name` with slashes, as the formats have it on every system."""
        return os.fspath(self.file_name).replace(os.sep, "/")
