"""Decides which pieces of different tiles are one object, and what is reported for it.

Where two tiles overlap, both see the same pixels. If a piece of one and a piece of the other agree
there, they show the same object.
"""

import collections
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_maskrcnn.instance_masks import Crop, part_of
from keras_maskrcnn.tiling.pieces import Pieces, depth
from keras_maskrcnn.typing import Size

AGREEMENT = 0.5
"""Lowest IoU of two masks, in the pixels that both tiles see, of pieces that are one object. It is
the IoU at which COCO's AP50 and the paper's training take a box for an object."""
COVER = 0.75
"""Share of a cut piece that must lie in a larger one of its class, so that it is a part of it."""
STAND = 0.9
"""Share of the other pieces that must lie in a piece that stands for the whole object. Masks that
a model gives for the same object in two tiles agree by more."""


class Piece(NamedTuple):
    """One of the `Pieces` of the tile with this number."""

    tile: int
    box: np.ndarray
    score: float
    label: int
    cut: bool
    mask: Crop


class Object(NamedTuple):
    """One object of the image. Fields as in `Piece`."""

    box: np.ndarray
    score: float
    label: int
    mask: Crop


def pairs(
    first: Pieces, second: Pieces, window: Sequence[int], other: Sequence[int]
) -> list[tuple[int, int]]:
    """Returns which pieces of two tiles show the same object.

    Only the pixels that both tiles see are compared. There, the IoU of the masks must be at least
    `AGREEMENT`. If a piece is cut and has the label of the other, it is enough that `COVER` of it
    lies in the other.

    Args:
        first, second: Pieces of the two tiles.
        window, other: [top, left, height, width] of the two tiles.

    Returns:
        list of (index in `first`, index in `second`).
    """
    top, left = np.maximum(window[:2], other[:2])
    bottom, right = np.minimum(np.add(window[:2], window[2:]), np.add(other[:2], other[2:]))
    if top >= bottom or left >= right:
        return []
    shared = np.array([top, left, bottom, right])
    a, b = _within(first.extents(), shared), _within(second.extents(), shared)
    corner = np.maximum(a[:, None, :2], b[None, :, :2])
    opposite = np.minimum(a[:, None, 2:], b[None, :, 2:])
    candidates = (corner < opposite).all(axis=-1)
    same = first.labels[:, None] == second.labels
    agreeing = []
    for i, j in np.argwhere(candidates).tolist():
        inter = _count(
            part_of(first.masks.crop(i), *corner[i, j], *opposite[i, j])
            & part_of(second.masks.crop(j), *corner[i, j], *opposite[i, j])
        )
        area = _count(part_of(first.masks.crop(i), *a[i]))
        other_area = _count(part_of(second.masks.crop(j), *b[j]))
        agree = inter >= AGREEMENT * (area + other_area - inter)
        if same[i, j]:
            agree |= first.cut[i] and inter >= COVER * area
            agree |= second.cut[j] and inter >= COVER * other_area
        if inter and agree:
            agreeing.append((i, j))
    return agreeing


def groups(matches: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Returns the connected groups of things that match, each in rising order.

    Args:
        matches: pairs of numbers.
    """
    parent: dict[int, int] = {}

    def root(x):
        while (above := parent.setdefault(x, x)) != x:
            parent[x] = parent[above]  # halves the way for the next search
            x = above
        return x

    for x, y in matches:
        parent[max(root(x), root(y))] = min(root(x), root(y))
    members = collections.defaultdict(list)
    for x in sorted(parent):
        members[root(x)].append(x)
    return list(members.values())


def reported(
    pieces: Sequence[Piece], windows: np.ndarray, blocks: np.ndarray, size: Size, seams: str
) -> Iterator[Object]:
    """Yields what is reported for the pieces of one group: usually one object.

    - A tile sees an object whole if its piece with the highest score is not cut, and those of the
      other tiles lie in it. The tile in which this piece is farthest from the borders reports what
      it sees whole. This is more than one object if the model gives an object two labels, as it
      does without tiles.
    - If no tile sees the object whole, its parts are joined. A pixel is decided by the tile in
      which it is farthest from the borders. Label and score come from all parts, weighted by their
      areas.
    - A part that no other tile confirms is reported only if it lies in its tile's own block.

    Args:
        pieces: list of Piece.
        windows: (T, 4) int [top, left, height, width] of all tiles.
        blocks: (T, 4) int. The part of the image that belongs to each tile.
        size: (H, W) of the image.
        seams: "join", or "own". With "own" parts are not joined, and a piece without a partner is
            reported only from the block that holds its center.
    """
    alone = len({piece.tile for piece in pieces}) == 1
    if alone:
        whole = [x for x in pieces if (seams == "join" and not x.cut) or _holds(blocks[x.tile], x)]
    else:
        clearest = _clearest(pieces)
        standing = [piece for piece in clearest if _covers(piece, clearest)]
        # An object as large as the overlap may come near a border of each tile that sees it whole.
        whole = [x for x in standing if not x.cut] or (standing if seams == "own" else [])
        if not whole and seams == "join":
            yield _joined(pieces, windows, size)
    if whole:
        deepest = max(whole, key=lambda x: (_depth(x, windows, size), x.score))
        for piece in pieces:
            if piece.tile == deepest.tile and piece.cut <= deepest.cut:
                yield Object(piece.box, piece.score, piece.label, piece.mask)


def _clearest(pieces):
    """Returns the piece with the highest score of each tile."""
    best: dict[int, Piece] = {}
    for piece in pieces:
        if piece.tile not in best or piece.score > best[piece.tile].score:
            best[piece.tile] = piece
    return list(best.values())


def _covers(piece, others):
    """Whether the other pieces lie in a piece; else it only seems to be whole."""
    extent = _extent(piece.mask)
    return all(
        _count(part_of(other.mask, *extent) & piece.mask[0]) >= STAND * _count(other.mask[0])
        for other in others
    )


def _joined(pieces, windows, size):
    """Returns one object made of parts that tiles saw."""
    corners = np.array([_extent(piece.mask) for piece in pieces])
    (top, left), (bottom, right) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    inside = np.zeros((bottom - top, right - left), bool)
    deepest = np.full(inside.shape, -1, np.int32)
    of_tile = collections.defaultdict(list)
    for piece in pieces:
        of_tile[piece.tile].append(piece)
    for tile, parts in of_tile.items():
        y, x, height, width = windows[tile]
        ys = np.arange(max(top, y), min(bottom, y + height))
        xs = np.arange(max(left, x), min(right, x + width))
        place = slice(ys[0] - top, ys[-1] + 1 - top), slice(xs[0] - left, xs[-1] + 1 - left)
        depths = np.minimum(
            _along(ys, y, height, size[0])[:, None], _along(xs, x, width, size[1])[None]
        )
        mask = np.zeros(depths.shape, bool)
        for part in parts:
            mask |= part_of(part.mask, ys[0], xs[0], ys[-1] + 1, xs[-1] + 1)
        better = depths > deepest[place]
        inside[place] = np.where(better, mask, inside[place])
        deepest[place] = np.where(better, depths, deepest[place])
    label, score = _vote(of_tile.values())
    boxes = np.array([piece.box for piece in pieces])
    return Object(
        np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)]),
        score,
        label,
        (inside, (int(top), int(left))),
    )


def _vote(of_tiles):
    """Returns the label and the score of an object, of lists of the parts that each tile saw.

    A tile votes for one label. Else the weak second labels of all tiles could outvote the first.
    """
    votes: dict[int, float] = collections.defaultdict(float)
    for parts in of_tiles:
        weights: collections.Counter[int] = collections.Counter()
        for part in parts:
            weights[part.label] += part.score * _count(part.mask[0])
        label, weight = weights.most_common(1)[0]
        votes[label] += weight
    label = max(sorted(votes), key=votes.__getitem__)
    parts = [part for parts in of_tiles for part in parts if part.label == label]
    areas = [_count(part.mask[0]) for part in parts]
    return label, float(np.average([part.score for part in parts], weights=areas))


def _along(positions, first, length, end):
    """Returns how far positions are from the ends of a tile that lie inside the image."""
    far = np.int32(np.iinfo(np.int32).max)
    before = far if first == 0 else positions - first
    after = far if first + length == end else first + length - 1 - positions
    return np.minimum(before, after) * np.ones(len(positions), np.int32)


def _depth(piece, windows, size):
    return depth(np.array([_extent(piece.mask)]), windows[piece.tile], size).min()


def _holds(block, piece):
    """Whether a block holds the center of a piece."""
    top, left, bottom, right = _extent(piece.mask)
    y, x = (top + bottom) / 2 - block[0], (left + right) / 2 - block[1]
    return 0 <= y < block[2] and 0 <= x < block[3]


def _extent(mask):
    region, (y, x) = mask
    return y, x, y + region.shape[0], x + region.shape[1]


def _within(extents, limits):
    """Cuts extents to limits, both [top, left, bottom, right]; an empty one has top >= bottom."""
    return np.concatenate(
        [np.maximum(extents[:, :2], limits[:2]), np.minimum(extents[:, 2:], limits[2:])], axis=1
    )


def _count(mask):
    return int(np.count_nonzero(mask))
