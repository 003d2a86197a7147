"""The grid of tiles that covers a big image, for training and for prediction.

All tiles have the same size, so that objects keep their scale. The last tile of a row or column is
shifted back until it ends at the border of the image.
"""

from collections.abc import Sequence

import numpy as np


def tile_windows(
    height: int, width: int, tile: int | Sequence[int], overlap: int | Sequence[int]
) -> np.ndarray:
    """Returns the windows of all tiles, row by row.

    Args:
        height, width: int. Sides of the image in pixels.
        tile: int, or (height, width). Sides of a tile in pixels.
        overlap: int, or (height, width). Neighbors share at least so many rows or columns of
            pixels, at least 1. The last two tiles of a row or column may share more.

    Returns:
        (n, 4) int64 [top, left, height, width]. Every pixel is in at least one window.

    Raises:
        ValueError: if the tile is larger than the image, or the overlap is not at least 1 and less
            than the tile.
    """
    (tops, left), (rows, columns) = _starts(height, width, tile, overlap)
    return _products(tops, np.full(len(tops), rows), left, np.full(len(left), columns))


def tile_blocks(
    height: int, width: int, tile: int | Sequence[int], overlap: int | Sequence[int]
) -> np.ndarray:
    """Returns the part of the image that belongs to each tile. Overlaps are cut in the middle.

    Args:
        height, width, tile, overlap: as in `tile_windows`.

    Returns:
        (n, 4) int64 [top, left, height, width], in the order of `tile_windows` and inside of its
            windows. Every pixel is in exactly one block.

    Raises:
        ValueError: as in `tile_windows`.
    """
    starts, tile = _starts(height, width, tile, overlap)
    sides = zip(starts, tile, (height, width), strict=True)
    edges = [_edges(first, side, length) for first, side, length in sides]
    (tops, lefts), (rows, columns) = [e[:-1] for e in edges], [np.diff(e) for e in edges]
    return _products(tops, rows, lefts, columns)


def tile_and_overlap(
    tile: int | Sequence[int], overlap: int | Sequence[int] | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of the tile and of the overlap, by default a quarter of the tile.

    Args:
        tile, overlap: as in `tile_windows`. `overlap` may be None.

    Raises:
        ValueError: if no image can have such tiles.
    """
    tile = as_pair("tile", tile)
    overlap = (tile[0] // 4, tile[1] // 4) if overlap is None else as_pair("overlap", overlap)
    tile_windows(*tile, tile, overlap)
    return tile, overlap


def as_pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Returns (height, width) of a whole number or of a pair of them.

    Args:
        name: str. The argument's name in the message.
        value: int, or two of them.

    Raises:
        ValueError: if it is something else.
    """
    try:
        height, width = np.broadcast_to(np.asarray(value), 2)
        pair = int(height), int(width)
    except (TypeError, ValueError):
        pair = None
    if pair is None or pair != (height, width) or isinstance(value, bool | str):
        raise ValueError(
            f"{name} must be a whole number, or a pair (height, width). Received: {name}={value!r}."
        )
    return pair


def _starts(height, width, tile, overlap):
    """Returns the first rows and the first columns of the tiles, and the pair of tile sides."""
    tile, overlap = as_pair("tile", tile), as_pair("overlap", overlap)
    if min(tile) < 1:
        raise ValueError(f"tile must be at least 1. Received: tile={tile}.")
    if min(overlap) < 1 or any(o >= t for o, t in zip(overlap, tile, strict=True)):
        raise ValueError(
            "overlap must be at least 1 and less than tile."
            f" Received: overlap={overlap}, tile={tile}."
        )
    if tile[0] > height or tile[1] > width:
        raise ValueError(
            f"tile must not be larger than the image of height={height}, width={width}."
            f" Received: tile={tile}."
        )
    lengths = zip((height, width), tile, overlap, strict=True)
    return [_along(*of_side) for of_side in lengths], tile


def _along(length, tile, overlap):
    """Returns the first pixels of the tiles along one side of the image."""
    steps = np.arange(0, length - tile, tile - overlap)
    return np.append(steps, length - tile)


def _edges(first, tile, length):
    """Returns where the blocks along one side begin, and the end of the last."""
    return np.concatenate([[0], (first[1:] + first[:-1] + tile) // 2, [length]])


def _products(tops, rows, lefts, columns):
    """Combines all rows of tiles with all columns: (n, 4) int64."""
    down, right = np.indices((len(tops), len(lefts))).reshape(2, -1)
    return np.stack([tops[down], lefts[right], rows[down], columns[right]], axis=1).astype(np.int64)
