"""The tiles of an image at all sizes, as a Deep Zoom Image: many viewers can open these."""

import os

import numpy as np
from PIL import Image

from keras_maskrcnn.data.sources import Source
from keras_maskrcnn.typing import OnError, Path
from keras_maskrcnn.viewer.windows import look_at, read_window
from keras_maskrcnn.visualize.look import Look

TILE = 512  # pixels; the side of a tile
_BLOCK = 2048  # pixels; the side of what is read and kept at once
_DESCRIPTION = """<?xml version="1.0" encoding="UTF-8"?>
<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpg" Overlap="0" TileSize="{}">
  <Size Width="{}" Height="{}"/>
</Image>
"""


def write_pyramid(
    folder: Path,
    name: str,
    source: Source,
    quality: int = 85,
    on_error: OnError = "raise",
    look: Look | None = None,
) -> int:
    """Writes `name`.dzi, and the tiles as `name`_files/LEVEL/COLUMN_ROW.jpg.

    Each level has half the size of the next one, and level 0 is one pixel. Every pixel of the
    source is read once, block by block: memory grows with the logarithm of the image's size.

    Args:
        folder: str or PathLike. Exists.
        name: str.
        source: the image.
        quality: int from 1 to 95, of the JPEG files.
        on_error: "raise", or "skip": parts that cannot be read are gray.
        look: how the image is shown; None for `look_at(source)`.

    Returns:
        int. The highest level, which has the size of the image.
    """
    look = look_at(source, on_error=on_error) if look is None else look
    highest = (max(source.height, source.width) - 1).bit_length()
    # Rounded up after each halving.
    sizes = [
        tuple(-(-side >> highest - level) for side in (source.height, source.width))
        for level in range(highest + 1)
    ]
    for level in range(highest + 1):
        os.makedirs(os.path.join(folder, f"{name}_files", str(level)))

    def write(level, top, left):
        """Writes a block of a level and all larger levels of it. Returns the block, halved."""
        tall, wide = min(_BLOCK, sizes[level][0] - top), min(_BLOCK, sizes[level][1] - left)
        if level == highest:
            block = read_window(source, top, left, tall, wide, on_error=on_error, look=look)
        else:
            block = np.empty((tall, wide, 3), np.uint8)
            for y in range(0, tall, _BLOCK // 2):
                for x in range(0, wide, _BLOCK // 2):
                    part = write(level + 1, 2 * (top + y), 2 * (left + x))
                    block[y : y + part.shape[0], x : x + part.shape[1]] = part
        picture = Image.fromarray(block)
        for y in range(0, tall, TILE):
            for x in range(0, wide, TILE):
                tile = picture.crop((x, y, min(x + TILE, wide), min(y + TILE, tall)))
                file = f"{(left + x) // TILE}_{(top + y) // TILE}.jpg"
                tile.save(os.path.join(folder, f"{name}_files", str(level), file), quality=quality)
        return np.asarray(picture.reduce(2))

    write(0, 0, 0)
    with open(os.path.join(folder, f"{name}.dzi"), "w", encoding="utf-8") as file:
        file.write(_DESCRIPTION.format(TILE, source.width, source.height))
    return highest
