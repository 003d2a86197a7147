"""Keeps one object per place: drops masks that mostly lie on those of better objects."""

import collections

import numpy as np

from keras_maskrcnn.instance_masks import InstanceMasks, part_of


def without_overlaps(masks: InstanceMasks, limit: float) -> np.ndarray:
    """Chooses objects whose masks have little in common.

    NMS compares boxes, and only those of one class. Here an object is dropped if more than `limit`
    of the smaller one of two masks, its own and that of a better object, lies in both. Parts of an
    object, and a second class for it, are dropped this way.

    Args:
        masks: InstanceMasks of n objects, the best one first.
        limit: float in [0, 1]. The largest allowed share of the smaller mask; 1 keeps all.

    Returns:
        (k,) int64. Indices of the objects that stay, in order.

    Raises:
        ValueError: if `limit` is not in its range.
    """
    if not 0 <= limit <= 1:
        raise ValueError(f"max_mask_overlap must be in 0..1. Received: max_mask_overlap={limit!r}.")
    if limit == 1:
        return np.arange(len(masks))
    side = max(1, int(np.sqrt(masks.size[0] * masks.size[1] / max(1, len(masks)))))
    # The kept objects of each cell of a grid.
    kept_in: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
    kept, areas = [], masks.areas()
    for i in range(len(masks)):
        region, (y, x) = masks.crop(i)
        cells = list(_cells((y, x), region.shape, side))
        rivals = {j for cell in cells for j in kept_in[cell]}
        if all(
            _common((region, (y, x)), masks.crop(j)) <= limit * min(areas[i], areas[j])
            for j in rivals
        ):
            kept.append(i)
            for cell in cells:
                kept_in[cell].append(i)
    return np.array(kept, np.int64)


def _cells(corner, shape, side):
    """Yields the cells of the grid that a window touches."""
    (y, x), (height, width) = corner, shape
    for row in range(y // side, (y + max(1, height) - 1) // side + 1):
        for column in range(x // side, (x + max(1, width) - 1) // side + 1):
            yield row, column


def _common(first, second):
    """Returns the number of pixels that two masks have in common."""
    (a, (ay, ax)), (b, (by, bx)) = first, second
    top, left = max(ay, by), max(ax, bx)
    bottom, right = min(ay + a.shape[0], by + b.shape[0]), min(ax + a.shape[1], bx + b.shape[1])
    if top >= bottom or left >= right:
        return 0
    shared = top, left, bottom, right
    return np.count_nonzero(part_of(first, *shared) & part_of(second, *shared))
