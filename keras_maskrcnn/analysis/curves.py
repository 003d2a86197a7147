"""Precision, recall and F1 over the score, best thresholds, AP per class, and calibration."""

import dataclasses
from typing import Any

import numpy as np

from keras_maskrcnn.analysis.errors import precision_at_recalls
from keras_maskrcnn.analysis.matching import Assignment, Matched

IOUS = np.linspace(0.5, 0.95, 10)
"""COCO's IoU thresholds."""
SCORES = np.arange(101) / 100
"""The score thresholds at which curves are drawn."""


@dataclasses.dataclass(frozen=True)
class Curves:
    """How well the detections of one class, or of all together, do at each score threshold.

    Attributes:
        objects, detections: int. Numbers of objects, and of detections that count.
        precision, recall, f1: (101,) float64 at the thresholds `SCORES`. A detection counts if its
            score is at least the threshold. Precision is NaN where nothing counts, recall where
            there is no object. F1 is NaN where there is no object.
        best_threshold: float. The threshold with the highest F1; None without any correct
            detection. It lies in the middle between the last score that counts and the next one.
        at_best: dict of "precision", "recall" and "f1" at it; empty without it.
    """

    objects: int
    detections: int
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best_threshold: float | None
    at_best: dict[str, float]


def precision_recall(matched: Matched, assignment: Assignment) -> tuple[Curves, tuple[Curves, ...]]:
    """Draws the curves of all detections together, and of each class.

    Args:
        matched: `Matched`.
        assignment: `Matched.assign` at the IoU at which a detection is correct.

    Returns:
        `Curves` of all classes together, in which each object has the same weight, and a tuple of
            one per class.
    """
    found, true = matched.detections, matched.objects
    counted, right = ~assignment.ignored, assignment.object >= 0
    positives = np.bincount(true.category[~true.ignore], minlength=len(matched.category_ids))

    def curves(rows, count):
        return _curves(found.score[rows], right[rows], int(count))

    every = curves(counted, positives.sum())
    return every, tuple(
        curves(counted & (found.category == i), count) for i, count in enumerate(positives)
    )


def _curves(score, right, objects):
    order = np.argsort(-score, kind="stable")
    score, true = score[order], np.append(0, np.cumsum(right[order]))
    counts = np.searchsorted(-score, -SCORES, side="right")
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN
        precision = true[counts] / counts
        recall = true[counts] / np.float64(objects)
        f1 = 2 * true[counts] / (counts + np.float64(objects) * (1 if objects else np.nan))
    best, at_best = None, {}
    if objects and true[-1]:
        ends = np.append(
            np.flatnonzero(np.diff(score)), len(score) - 1
        )  # equal scores count as one
        values = 2 * true[ends + 1] / (ends + 1 + objects)
        end = int(ends[np.argmax(values)])
        best = _between(float(score[end]), float(score[end + 1]) if end + 1 < len(score) else None)
        at_best = {
            "precision": float(true[end + 1] / (end + 1)),
            "recall": float(true[end + 1] / objects),
            "f1": float(values.max()),
        }
    return Curves(objects, len(score), precision, recall, f1, best, at_best)


def _between(last, following):
    """Returns a short number that the last score reaches and the following one does not."""
    middle = last if following is None else (last + following) / 2
    for digits in (3, 4, 5, 6, 7):
        short = float(np.floor(middle * 10**digits)) / 10**digits
        if short <= last and (following is None or short > following):
            return short
    return middle


def average_precisions(matched: Matched) -> np.ndarray:
    """Computes COCO's AP of each class at each IoU; equal to pycocotools'.

    Returns:
        (10, K) float64 for `IOUS`; NaN for classes without objects.
    """
    found, true = matched.detections, matched.objects
    positives = np.bincount(true.category[~true.ignore], minlength=len(matched.category_ids))
    order = np.lexsort((-found.score, found.category))
    ends = np.searchsorted(found.category[order], np.arange(len(positives) + 1))
    ap = np.full([len(IOUS), len(positives)], np.nan)
    for i, iou in enumerate(IOUS):
        assignment = matched.assign(float(iou))
        for k, count in enumerate(positives.tolist()):
            rows = order[ends[k] : ends[k + 1]]
            rows = rows[~assignment.ignored[rows]]
            if count:
                ap[i, k] = precision_at_recalls(assignment.object[rows] >= 0, count).mean()
    return ap


def precisions_at_recalls(matched: Matched, assignment: Assignment) -> np.ndarray:
    """Returns COCO's precision of each class at recalls 0, 0.01, ..., 1.

    Args:
        matched, assignment: as in `precision_recall`.

    Returns:
        (K, 101) float64; NaN for classes without objects.
    """
    found, true = matched.detections, matched.objects
    positives = np.bincount(true.category[~true.ignore], minlength=len(matched.category_ids))
    curves = np.full([len(positives), 101], np.nan)
    order = np.argsort(-found.score, kind="stable")
    order = order[~assignment.ignored[order]]
    for k in np.flatnonzero(positives).tolist():
        right = assignment.object[order[found.category[order] == k]] >= 0
        curves[k] = precision_at_recalls(right, int(positives[k]))
    return curves


def calibration(score: np.ndarray, right: np.ndarray, num_bins: int = 10) -> dict[str, Any]:
    """Compares scores with the shares of correct detections (Guo et al. 2017).

    Args:
        score: (n,) float in 0..1.
        right: (n,) bool. Whether each detection is correct.
        num_bins: int. Number of bins of equal width.

    Returns:
        dict of "ece", the expected calibration error: the mean over detections of the distance
            between the mean score and the share of correct ones in their bin; None without any
            detection. And "bins", a list of dicts of "from", "to", "count", "score" (mean) and
            "correct" (share); the last two are None in an empty bin.
    """
    place = np.clip((score * num_bins).astype(int), 0, num_bins - 1)
    count, scores, hits = (
        np.bincount(place, weights, num_bins) for weights in (None, score, right.astype(float))
    )
    bins = [
        {
            "from": i / num_bins,
            "to": (i + 1) / num_bins,
            "count": int(n),
            "score": float(s / n) if n else None,
            "correct": float(h / n) if n else None,
        }
        for i, (n, s, h) in enumerate(zip(count, scores, hits, strict=True))
    ]
    ece = float(np.abs(scores - hits).sum() / len(score)) if len(score) else None
    return {"ece": ece, "bins": bins}
