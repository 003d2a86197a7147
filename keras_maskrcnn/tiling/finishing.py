"""Makes the objects of an image out of the pieces of all tiles."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.overlaps import without_overlaps
from keras_maskrcnn.tiling import joining
from keras_maskrcnn.tiling.ownership import Role, roles
from keras_maskrcnn.tiling.pieces import Pieces
from keras_maskrcnn.tiling.store import TileStore
from keras_maskrcnn.typing import Size


class _Compared(NamedTuple):
    """The ids of pieces by what the comparison of all tiles says about them."""

    final: list[int]
    open: list[int]
    matches: list[tuple[int, int]]
    beaten: set[int]


def write_objects(
    store: TileStore, windows: np.ndarray, blocks: np.ndarray, size: Size, seams: str
) -> int:
    """Writes the objects that the pieces of all tiles make.

    - What the tile says that decides (`ownership`) is reported. Of two such pieces of the same
      object, at the border of two blocks, the one with the higher score.
    - Other pieces that show the same object as a reported one are dropped. The rest are joined
      (`joining.reported`).

    Memory grows by the ids of the pieces, and holds the pieces of two rows of tiles.

    Args:
        store: TileStore with the pieces; it gets the objects.
        windows, blocks, size, seams: as in `joining.reported`.

    Returns:
        int. Number of objects that seams="own" leaves out.
    """
    compared = _compare(store, windows, blocks, size)
    beaten, lost = compared.beaten, 0
    grouped = joining.groups(m for m in compared.matches if not beaten.intersection(m))
    settled = beaten.union(*grouped)

    def objects() -> Iterator[joining.Object]:
        nonlocal lost
        for index in compared.final:
            if index not in beaten:
                piece = store.piece(index)
                yield joining.Object(piece.box, piece.score, piece.label, piece.mask)
        alone = [[index] for index in compared.open if index not in settled]
        for group in [*grouped, *alone]:
            pieces = [store.piece(index) for index in group]
            found = list(joining.reported(pieces, windows, blocks, size, seams))
            lost += not found and len(group) > 1
            yield from found

    store.write_objects(objects())
    return lost


def drop_overlaps(store: TileStore, size: Size, limit: float) -> None:
    """Deletes objects by `without_overlaps`.

    Args:
        store: TileStore with objects.
        size: (H, W) of the image.
        limit: float in [0, 1].
    """
    ids, _, masks = store.objects(size)
    store.keep_objects(ids[without_overlaps(masks, limit)])


def _compare(store, windows, blocks, size):
    """Compares the pieces of all neighbor tiles."""
    columns = len(np.unique(windows[:, 1]))

    @functools.lru_cache(maxsize=2 * columns + 3)
    def load(tile: int) -> tuple[np.ndarray, np.ndarray, Pieces]:
        ids, pieces = store.pieces(tile, size)
        found = roles(pieces, tile, windows, blocks, size)
        kept = np.flatnonzero(found != Role.DROPPED)
        return np.array(ids, np.int64)[kept], found[kept], pieces.chosen(kept)

    compared = _Compared([], [], [], set())
    for tile, window in enumerate(windows):
        ids, own_roles, pieces = load(tile)
        compared.final.extend(ids[own_roles == Role.FINAL].tolist())
        compared.open.extend(ids[own_roles == Role.OPEN].tolist())
        for other in _later_neighbors(windows, tile):
            other_ids, other_roles, others = load(other)
            for i, j in joining.pairs(pieces, others, window, windows[other]):
                index, other_index = int(ids[i]), int(other_ids[j])
                # A decided piece beats an open one; of two decided ones, the better score.
                rank = own_roles[i] == Role.FINAL, float(pieces.scores[i])
                other_rank = other_roles[j] == Role.FINAL, float(others.scores[j])
                if not rank[0] and not other_rank[0]:
                    compared.matches.append((index, other_index))
                else:
                    compared.beaten.add(other_index if rank >= other_rank else index)
    return compared


def _later_neighbors(windows, tile):
    """Returns the tiles with higher numbers that share pixels with a tile."""
    top, left, height, width = windows[tile]
    below = windows[tile + 1 :]
    shares = (below[:, 0] < top + height) & (np.abs(below[:, 1] - left) < width)
    return (tile + 1 + np.flatnonzero(shares)).tolist()
