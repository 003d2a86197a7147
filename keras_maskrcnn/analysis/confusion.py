"""Counts which classes the model takes for which, at many score thresholds."""

from collections.abc import Sequence

import numpy as np

from keras_maskrcnn.analysis.matching import Assignment, Matched, take_in_turn

THRESHOLDS = tuple(i / 20 for i in range(20))
"""Score thresholds 0, 0.05, ..., 0.95."""


def confusions(
    matched: Matched,
    assignment: Assignment,
    iou: float = 0.5,
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[list[tuple[int, int, int]]]:
    """Counts pairs of the annotated and the detected class at each score threshold.

    Detections below the threshold are left out. The others first match objects of their own class,
    as in COCO's evaluation, so the diagonal has the correct detections of the curves. Then each
    remaining detection, by falling score, takes the remaining object of another class with the
    highest IoU, if that is `iou` or more. What is left is background: objects nobody found,
    detections of nothing. Detections in ignored objects of their class do not count.

    Args:
        matched: `Matched`.
        assignment: `matched.assign(iou)`.
        iou: float in (0, 1]. The lowest IoU of a match.
        thresholds: sequence of float. A detection counts from this score on.

    Returns:
        One list per threshold of (annotated class, detected class, count) with count above 0, in
            order. Classes are indices into `category_ids`; their number K means background.
    """
    pairs, found, true = matched.pairs, matched.detections, matched.objects
    background = len(matched.category_ids)
    other = found.category[pairs.detection] != true.category[pairs.object]
    wishes = other & ~true.ignore[pairs.object] & (pairs.iou >= min(iou, 1 - 1e-10))
    wishes &= assignment.object[pairs.detection] < 0
    wishes = np.flatnonzero(wishes)
    keys = pairs.object[wishes], -pairs.iou[wishes], pairs.detection[wishes]
    wishes = wishes[np.lexsort(keys)]
    tables = []
    for threshold in thresholds:
        counts = (found.score >= threshold) & ~assignment.ignored
        own = counts & (assignment.object >= 0)
        free = ~true.ignore
        free[assignment.object[own]] = False
        rows, columns = pairs.detection[wishes], pairs.object[wishes]
        here = counts[rows] & free[columns]
        taken, takers = take_in_turn(rows[here], columns[here], len(counts), len(free))
        confused = taken >= 0
        lost, wrong = free & (takers < 0), counts & ~own & ~confused
        annotated = [found.category[own], true.category[taken[confused]], true.category[lost]]
        detected = [found.category[own], found.category[confused], np.full(lost.sum(), background)]
        annotated.append(np.full(wrong.sum(), background))
        detected.append(found.category[wrong])
        cells = np.concatenate(annotated).astype(np.int64) * (background + 1)
        cells, numbers = np.unique(cells + np.concatenate(detected), return_counts=True)
        table = (cells // (background + 1), cells % (background + 1), numbers)
        tables.append(list(zip(*(column.tolist() for column in table), strict=True)))
    return tables
