"""Counts which objects of a large image were found once, twice, in part or not at all.

tiles.py and tiles_sahi.py import it. It needs NumPy alone.
"""

import dataclasses

import numpy as np

CELL = 64  # pixels per side of the cells in which neighbors are looked up


@dataclasses.dataclass
class Instances:
    """Objects of one image.

    Attributes:
        labels: (n,) int, from 1.
        scores: (n,) float.
        crops: list of n (mask (h, w) bool, (y, x) of its upper left pixel).
        others: (n,) int. Number of instances of other classes on each; only in a reference.
    """

    labels: np.ndarray
    scores: np.ndarray
    crops: list
    others: np.ndarray | None = None

    @classmethod
    def of(cls, found, threshold=0.0):
        """Makes it from what `predict_image` or `predict_large` returns."""
        scores, labels = np.asarray(found["scores"]), np.asarray(found["labels"])
        kept = np.flatnonzero(scores >= threshold)
        return cls(labels[kept], scores[kept], [found["masks"].crop(i) for i in kept.tolist()])

    def save(self, path):
        """Writes a .npz file."""
        masks = [np.packbits(mask) for mask, _ in self.crops]
        sides = [(*at, *mask.shape) for mask, at in self.crops]
        ends = np.cumsum([len(mask) for mask in masks])
        bits = np.concatenate([np.zeros(0, np.uint8), *masks])
        windows = np.array(sides, np.int64).reshape(-1, 4)
        arrays = {"labels": self.labels, "scores": self.scores, "windows": windows}
        if self.others is not None:
            arrays["others"] = self.others
        np.savez(path, ends=ends, bits=bits, **arrays)

    @classmethod
    def load(cls, path):
        """Reads a file of `save`."""
        with np.load(path) as file:
            data = dict(file)
        crops, start = [], 0
        for (y, x, height, width), end in zip(data["windows"].tolist(), data["ends"], strict=True):
            bits = np.unpackbits(data["bits"][start:end], count=height * width)
            crops.append((bits.reshape(height, width) > 0, (y, x)))
            start = end
        return cls(data["labels"], data["scores"], crops, data.get("others"))

    def above(self, score):
        """Returns those with at least a score."""
        kept = np.flatnonzero(self.scores >= score)
        others = None if self.others is None else self.others[kept]
        return Instances(
            self.labels[kept], self.scores[kept], [self.crops[i] for i in kept], others
        )


class Index:
    """Finds the objects whose windows may touch a window.

    Args:
        crops: as in `Instances`.
    """

    def __init__(self, crops):
        self.cells = {}
        for i, crop in enumerate(crops):
            for cell in _cells(crop):
                self.cells.setdefault(cell, []).append(i)

    def near(self, crop):
        """Returns a sorted list of the objects near a crop."""
        return sorted({i for cell in _cells(crop) for i in self.cells.get(cell, ())})


def _cells(crop):
    mask, (y, x) = crop
    rows = range(y // CELL, (y + mask.shape[0]) // CELL + 1)
    return [(i, j) for i in rows for j in range(x // CELL, (x + mask.shape[1]) // CELL + 1)]


def intersection(one, other):
    """Returns the number of pixels that two crops share."""
    (a, (ay, ax)), (b, (by, bx)) = one, other
    top, bottom = max(ay, by), min(ay + a.shape[0], by + b.shape[0])
    left, right = max(ax, bx), min(ax + a.shape[1], bx + b.shape[1])
    if top >= bottom or left >= right:
        return 0
    part_a = a[top - ay : bottom - ay, left - ax : right - ax]
    part_b = b[top - by : bottom - by, left - bx : right - bx]
    return int(np.count_nonzero(part_a & part_b))


def iou(one, other):
    """Returns the intersection over union of two crops, 0 if both are empty."""
    shared = intersection(one, other)
    union = np.count_nonzero(one[0]) + np.count_nonzero(other[0]) - shared
    return shared / union if union else 0.0


def overlap(one, other):
    """Returns the share of the smaller of two crops that the other covers, 0 if one is empty."""
    smaller = min(np.count_nonzero(one[0]), np.count_nonzero(other[0]))
    return intersection(one, other) / smaller if smaller else 0.0


def compare(reference, found, same=0.9):
    """Says for each object of `reference` what became of it.

    An object is "doubled" if two or more instances of its class lie on it, also pieces of it: an
    instance lies on it if the smaller of both masks is more than half inside of the other. With
    exactly one it is "once", if the masks have an IoU above `same`, and else "cut". With none it is
    "other class" if an instance of another class lies on it, and else "missed".

    Args:
        reference, found: `Instances`.
        same: float.

    Returns:
        fates: list of str, one for each object of `reference`.
        unknown: list of indices of `found` that lie on no object of `reference`.
        others: list of int. Number of instances of other classes on each object.
    """
    index, fates, used, others = Index(found.crops), [], set(), []
    for label, crop in zip(reference.labels, reference.crops, strict=True):
        on_it = [i for i in index.near(crop) if overlap(crop, found.crops[i]) > 0.5]
        used.update(on_it)
        of_class = [i for i in on_it if found.labels[i] == label]
        others.append(len(on_it) - len(of_class))
        if len(of_class) > 1:
            fates.append("doubled")
        elif len(of_class) == 1:
            whole = iou(crop, found.crops[of_class[0]]) > same
            fates.append("once" if whole else "cut")
        else:
            fates.append("other class" if on_it else "missed")
    return fates, [i for i in range(len(found.crops)) if i not in used], others
