"""Decides which tile has the say about a piece.

Where tiles overlap, several of them see an object. If all their pieces were compared with each
other, the weak and false ones of a crowd would add up and connect neighbors. So one tile decides
wherever it can.
"""

import numpy as np

from keras_maskrcnn.tiling.pieces import Pieces, depth
from keras_maskrcnn.typing import Size

_ROOM = 1 / 8  # of a piece's side: models move a side by less, from one tile to another
_PIXELS = 2.0  # but at least so many


class Role:
    """What happens to a piece."""

    DROPPED = 0
    """Another tile decides."""
    OPEN = 1
    """No tile surely sees the object whole: the piece is compared with those of other tiles."""
    SPARE = 2
    """Another tile decides, but the center is near the border of the blocks, so that the other tile
    may see it here. The piece counts if the other one agrees."""
    FINAL = 3
    """This tile decides: the piece is reported as it is."""


def roles(
    pieces: Pieces, tile: int, windows: np.ndarray, blocks: np.ndarray, size: Size
) -> np.ndarray:
    """Returns the role of each piece of a tile.

    The tile whose block holds the center of a piece decides, if the piece lies inside its window
    with some room to the borders.

    Args:
        pieces: Pieces of the tile.
        tile: int. Number of the tile.
        windows: (T, 4) int [top, left, height, width] of all tiles, row by row.
        blocks: (T, 4) int. The part of the image that belongs to each tile.
        size: (H, W) of the image.

    Returns:
        (n,) int64, values of `Role`.
    """
    extents = pieces.extents()
    sides = extents[:, 2:] - extents[:, :2]
    centers = (extents[:, :2] + extents[:, 2:]) / 2
    tops, lefts = np.unique(blocks[:, 0]), np.unique(blocks[:, 1])
    rows = np.searchsorted(tops, centers[:, 0], side="right") - 1
    owners = rows * len(lefts) + np.searchsorted(lefts, centers[:, 1], side="right") - 1
    room = np.maximum(_PIXELS, sides * _ROOM)
    whole = (depth(extents, windows[owners], size) > np.tile(room, 2)).all(axis=1)
    corner, opposite = blocks[tile, :2], blocks[tile, :2] + blocks[tile, 2:]
    near = ((centers >= corner - room) & (centers < opposite + room)).all(axis=1)
    found = np.full(len(pieces), Role.OPEN)
    found[whole] = Role.DROPPED
    found[whole & near & ~pieces.cut] = Role.SPARE
    found[whole & (owners == tile)] = Role.FINAL
    return found
