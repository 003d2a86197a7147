"""Recall, precision and errors by size, form and crowding; counts per image; overlaps."""

from typing import Any

import numpy as np

from keras_maskrcnn.analysis.errors import CORRECT, KINDS, Errors
from keras_maskrcnn.analysis.matching import Assignment, Matched

SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": np.inf}
"""COCO's sizes, with the area in pixels below which an object has them."""
ASPECTS = {"tall": 0.75, "square": 1.33, "wide": np.inf}
"""TIDE's forms, with the highest width by height of the box."""
CROWDING = {"alone": 0.0, "touching": 0.1, "near": 0.3, "crowded": np.inf}
"""Names of the highest IoU of an object's box with the box of another object of the image."""
NEIGHBORS = {"0": 0.0, "1": 1.0, "2 or 3": 3.0, "4 or more": np.inf}
"""Names of the number of other objects of the image whose boxes overlap an object's box."""


def by_shape(
    matched: Matched, assignment: Assignment, errors: Errors, score_threshold: float = 0.0
) -> dict[str, list[dict[str, Any]]]:
    """Divides objects and detections by size and by form.

    Objects count where their own area and box put them, and detections where theirs do.

    Args:
        matched: `Matched`.
        assignment: `matched.assign` at the IoU of a correct detection.
        errors: `Errors` at this IoU.
        score_threshold: float. Detections with lower scores are left out.

    Returns:
        dict of "size" and "aspect" to lists of dicts, one per bin: "name", "objects", "found",
            "recall", "detections", "correct", "precision", and "errors", a dict of kind to number.
            Ignored objects and detections are left out. A share of nothing is None.
    """
    found, true = matched.detections, matched.objects
    size = [_bin(x.area, SIZES, side="right") for x in (true, found)]
    aspect = [_bin(_aspect(x.box), ASPECTS, side="left") for x in (true, found)]
    common = matched, assignment, errors, score_threshold
    return {
        "size": _table(*common, tuple(SIZES), *size),
        "aspect": _table(*common, tuple(ASPECTS), *aspect),
    }


def by_crowding(
    matched: Matched, assignment: Assignment, errors: Errors, score_threshold: float = 0.0
) -> dict[str, list[dict[str, Any]]]:
    """Divides objects by how crowded they are. Detections count with the object they are about.

    Args:
        matched, assignment, errors, score_threshold: as in `by_shape`.

    Returns:
        dict of "crowding", by the highest IoU with another object's box, and "neighbors", by the
            number of such boxes, to lists as from `by_shape`. Detections of background are left
            out.
    """
    highest, number = _crowding(matched)
    tables = {}
    for name, values, bins in (
        ("crowding", highest, CROWDING),
        ("neighbors", number, NEIGHBORS),
    ):
        of_objects = _bin(values, bins, side="left")
        of_detections = np.where(errors.object >= 0, np.append(of_objects, -1)[errors.object], -1)
        tables[name] = _table(
            matched, assignment, errors, score_threshold, tuple(bins), of_objects, of_detections
        )
    return tables


def counting(
    matched: Matched, assignment: Assignment, score_threshold: float = 0.0
) -> tuple[dict[str, float | None], np.ndarray, np.ndarray]:
    """Compares the numbers of objects and of detections in each image.

    Args:
        matched, assignment, score_threshold: as in `by_shape`.

    Returns:
        dict of "mean_error" (detections less objects), "mean_absolute_error",
            "root_mean_square_error" and "exact" (share of images with the right number), None
            without images; and the numbers of objects and of detections, each (I,) int64.
    """
    images = len(matched.image_ids)
    counts = ~assignment.ignored & (matched.detections.score >= score_threshold)
    objects = np.bincount(matched.objects.image[~matched.objects.ignore], minlength=images)
    detections = np.bincount(matched.detections.image[counts], minlength=images)
    error = (detections - objects).astype(np.float64)
    numbers = {
        "mean_error": error.mean() if images else None,
        "mean_absolute_error": np.abs(error).mean() if images else None,
        "root_mean_square_error": np.sqrt((error**2).mean()) if images else None,
        "exact": (error == 0).mean() if images else None,
    }
    plain = {name: None if x is None else float(x) for name, x in numbers.items()}
    return plain, objects, detections


def overlap_distribution(
    matched: Matched, score_threshold: float = 0.0, num_bins: int = 20
) -> dict[str, Any]:
    """Counts objects by the highest IoU with a detection of their class.

    Args:
        matched, score_threshold: as in `by_shape`.
        num_bins: int. Bins of equal width from 0 to 1; IoU 1 is in the last one.

    Returns:
        dict of "edges" (num_bins + 1 numbers), "counts" (num_bins), "without" (objects with IoU 0,
            which are in no bin), and "mean" and "median" of the others, None without any.
    """
    pairs, found, true = matched.pairs, matched.detections, matched.objects
    kept = found.category[pairs.detection] == true.category[pairs.object]
    kept &= ~true.ignore[pairs.object] & (found.score[pairs.detection] >= score_threshold)
    best = np.zeros(len(true.area))
    np.maximum.at(best, pairs.object[kept], pairs.iou[kept])
    best = best[~true.ignore]
    some = best[best > 0]
    counts, edges = np.histogram(some, num_bins, (0, 1))
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "without": int(len(best) - len(some)),
        "mean": float(some.mean()) if len(some) else None,
        "median": float(np.median(some)) if len(some) else None,
    }


def _bin(values, bins, side):
    """Returns the index of each value's bin; `side` "left": a limit belongs to the lower bin."""
    return np.searchsorted(list(bins.values())[:-1], values, side=side)


def _aspect(box):
    """Returns width by height. A box without height is infinitely wide."""
    width, height = (box[:, 2:] - box[:, :2]).T
    return np.where(height > 0, width / np.where(height > 0, height, 1), np.inf)


def _crowding(matched):
    """Returns each object's highest box IoU with another object of its image, and their number."""
    true = matched.objects
    highest, number = np.zeros(len(true.area)), np.zeros(len(true.area))
    for image in np.unique(true.image[~true.ignore]).tolist():
        _, rows = matched.rows(image)
        rows = np.arange(rows.start, rows.stop)
        rows = rows[~true.ignore[rows]]
        box = true.box[rows]
        low = np.maximum(box[:, None, :2], box[None, :, :2])
        sides = np.maximum(np.minimum(box[:, None, 2:], box[None, :, 2:]) - low, 0)
        shared, area = sides.prod(axis=-1), (box[:, 2:] - box[:, :2]).prod(axis=1)
        np.fill_diagonal(shared, 0)
        union = area[:, None] + area[None] - shared
        highest[rows] = (shared / np.where(union > 0, union, 1)).max(axis=1)
        number[rows] = (shared > 0).sum(axis=1)
    return highest, number


def _table(matched, assignment, errors, score_threshold, names, of_objects, of_detections):
    """Makes the rows of a table from the bin of each object and detection, -1 for none."""
    kept = ~assignment.ignored & (matched.detections.score >= score_threshold)
    right = kept & (assignment.object >= 0)
    real, got = ~matched.objects.ignore, np.zeros(len(of_objects), bool)
    got[assignment.object[right]] = True
    table = []
    for i, name in enumerate(names):
        here, there = real & (of_objects == i), kept & (of_detections == i)
        objects, hits = int(here.sum()), int((here & got).sum())
        detections, correct = int(there.sum()), int((there & right).sum())
        kinds = {
            kind: int((there & ~right & (errors.kind == k)).sum())
            for k, kind in enumerate(KINDS)
            if k != CORRECT
        }
        table.append(
            {
                "name": name,
                "objects": objects,
                "found": hits,
                "recall": hits / objects if objects else None,
                "detections": detections,
                "correct": correct,
                "precision": correct / detections if detections else None,
                "errors": {**kinds, "missed": objects - hits},
            }
        )
    return table
