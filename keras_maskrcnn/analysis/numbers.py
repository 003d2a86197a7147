"""All numbers of an evaluation's report, as one dict that `json.dump` writes (docs/report.md)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.analysis import breakdown, curves
from keras_maskrcnn.analysis.confusion import THRESHOLDS, confusions
from keras_maskrcnn.analysis.errors import COCO_RECALLS, KINDS, find_errors
from keras_maskrcnn.analysis.images import summaries, worst_images
from keras_maskrcnn.analysis.matching import Matched, match
from keras_maskrcnn.typing import Path

VERSION = 1
"""Version of the schema, which rises if an entry changes its meaning or goes away."""


def report_numbers(
    results: Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    iou_type: str = "segm",
    iou: float = 0.5,
    max_detections: int = 100,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    image_ids: Sequence[Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    explanations: Iterable[Mapping[str, Any]] | None = None,
    worst: int = 50,
    matched: Matched | None = None,
) -> dict[str, Any]:
    """Computes all numbers of a report.

    Everything but `AP`, `metrics` and `stages` is at one IoU, `iou`. Shares are in 0..1. A number
    that does not exist, such as the precision of no detections, is None, never NaN or -1. Floats
    have six digits behind the point.

    Args:
        results: list of COCO results.
        annotations: path of a COCO annotation file, or its content.
        iou_type, max_detections, category_ids, class_names, image_ids: as in `match`.
        iou: float in (0.1, 1]. The lowest IoU of a correct detection.
        metrics: dict from `evaluation.evaluate_results`, to be copied.
        explanations: iterable of `Explanation.as_dict`, for the stages that lost objects.
        worst: int. Number of images whose detections are listed.
        matched: `Matched` of the same arguments, if it is known already.

    Returns:
        dict with these entries. "Class" and "image" are indices into "classes" and "images".

            - version: int. Of this schema.
            - options: dict of "iou_type", "iou", "background_iou", "max_detections".
            - data: dict of the numbers of "images", "objects", "ignored" (objects), "detections".
            - metrics: dict. COCO's numbers, or None.
            - all: dict for all classes together: "objects", "detections", "AP", "AP50" (means over
              classes, AP50 at `iou`), "best_threshold" (score with the highest F1), "precision",
              "recall", "f1" (there), "ece" (calibration error).
            - classes: list of dicts: "id", "name", and the same.
            - curves: "scores" (101), "recalls" (101), "all" and "classes" (a list). The last two
              hold dicts of "precision", "recall", "f1" (at the scores) and
              "precision_at_recall" (at the recalls; of "all": the mean over classes).
            - calibration: dict of "ece" and "bins", see `curves.calibration`.
            - confusion: dict of "thresholds" and "counts": per threshold a list of
              [annotated class, detected class, count], see `confusion.confusions`. The number of
              classes stands for background.
            - errors: TIDE's numbers: "AP", "counts" and "dAP" by kind, and "by_class", a list of
              dicts of kind to number. A detection counts with its own class, and "missed" with the
              object's.
            - breakdown: dict of "score_threshold" (the best of "all", or 0) and, at this threshold,
              "size", "aspect", "crowding", "neighbors", see `breakdown`.
            - counting: dict, see `breakdown.counting`, at the same threshold.
            - overlaps: dict, see `breakdown.overlap_distribution`, at the same threshold.
            - stages: dict from `explaining.summary`, or None.
            - images: list of dicts by the images' order, see `images.summaries`.
            - worst: list of dicts, the worst image first, see `images.worst_images`.

    Raises:
        ValueError: if an option is out of its range.
        DataError: as from `match`.
    """
    if matched is None:
        matched = match(
            results,
            annotations,
            iou_type=iou_type,
            max_detections=max_detections,
            category_ids=category_ids,
            class_names=class_names,
            image_ids=image_ids,
        )
    assignment = matched.assign(iou)
    errors = find_errors(matched, iou)
    every, of_classes = curves.precision_recall(matched, assignment)
    threshold = every.best_threshold or 0.0
    common = matched, assignment, errors, threshold
    counts, annotated, detected = breakdown.counting(matched, assignment, threshold)
    images = summaries(*common, annotated, detected)
    numbers = {
        "version": VERSION,
        "options": {
            "iou_type": matched.iou_type,
            "iou": iou,
            "background_iou": 0.1,
            "max_detections": matched.max_detections,
        },
        "data": {
            "images": len(matched.image_ids),
            "objects": int((~matched.objects.ignore).sum()),
            "ignored": int(matched.objects.ignore.sum()),
            "detections": len(matched.detections.score),
        },
        "metrics": None if metrics is None else _without_minus_one(metrics),
        **_of_classes(matched, assignment, every, of_classes),
        "confusion": {
            "thresholds": list(THRESHOLDS),
            "counts": confusions(matched, assignment, iou),
        },
        "errors": {
            "AP": errors.ap,
            "counts": errors.counts,
            "dAP": errors.dap,
            "by_class": _errors_by_class(matched, errors),
        },
        "breakdown": {
            "score_threshold": threshold,
            **breakdown.by_shape(*common),
            **breakdown.by_crowding(*common),
        },
        "counting": counts,
        "overlaps": breakdown.overlap_distribution(matched, threshold),
        "stages": _stages(explanations),
        "images": images,
        "worst": worst_images(matched, assignment, errors, images, worst),
    }
    return _plain(numbers)


def best_thresholds(
    numbers: Mapping[str, Any], category_ids: Sequence[int] | None = None
) -> tuple[float, ...]:
    """Returns the score threshold with the highest F1 of each class, for `class_thresholds`.

    Args:
        numbers: dict from `report_numbers`, or the content of its json.
        category_ids: sequence of int. The categories in the order of the model's labels, as
            `model.config.ids()` gives them; None for the order of the report.

    Returns:
        tuple of one float per class. Classes without a correct detection get the best threshold of
            all classes together, or 0.

    Raises:
        ValueError: if the report lacks a category.
    """
    rows = {row["id"]: row["best_threshold"] for row in numbers["classes"]}
    ids = list(rows) if category_ids is None else list(category_ids)
    lacking = [i for i in ids if i not in rows]
    if lacking:
        raise ValueError(
            f"category_ids must be in the report. Received: category_ids={lacking}, the report has "
            f"{list(rows)}."
        )
    otherwise = numbers["all"]["best_threshold"] or 0.0
    return tuple(float(otherwise if rows[i] is None else rows[i]) for i in ids)


def _of_classes(matched, assignment, every, of_classes):
    """Returns the entries "all", "classes", "curves" and "calibration"."""
    found = matched.detections
    counted, right = ~assignment.ignored, assignment.object >= 0
    precise = curves.precisions_at_recalls(matched, assignment)
    ap = curves.average_precisions(matched)
    calibration = curves.calibration(found.score[counted], right[counted])
    rows = []
    for k, curve in enumerate(of_classes):
        own = counted & (found.category == k)
        ece = curves.calibration(found.score[own], right[own])["ece"]
        about = {"id": matched.category_ids[k], "name": matched.class_names[k]}
        rows.append({**about, **_row(curve, ap[:, k].mean(), precise[k].mean(), ece)})
    return {
        "all": _row(every, _mean(ap.mean(axis=0)), _mean(precise.mean(axis=1)), calibration["ece"]),
        "classes": rows,
        "curves": {
            "scores": curves.SCORES,
            "recalls": COCO_RECALLS,
            "all": _drawn(every, [_mean(column) for column in precise.T]),
            "classes": [_drawn(*both) for both in zip(of_classes, precise, strict=True)],
        },
        "calibration": calibration,
    }


def _row(curve, ap, ap50, ece):
    best = {"best_threshold": curve.best_threshold}
    best |= {name: curve.at_best.get(name) for name in ("precision", "recall", "f1")}
    counts = {"objects": curve.objects, "detections": curve.detections}
    return {**counts, "AP": ap, "AP50": ap50, **best, "ece": ece}


def _drawn(curve, precise):
    names = ("precision", "recall", "f1")
    return {**{name: getattr(curve, name) for name in names}, "precision_at_recall": precise}


def _errors_by_class(matched, errors):
    """Counts the errors of each class, as "errors" counts them for all."""
    size = len(matched.category_ids)
    table = {
        kind: np.bincount(matched.detections.category[errors.kind == k], minlength=size)
        for k, kind in enumerate(KINDS)
        if k
    }
    table["missed"] = np.bincount(matched.objects.category[errors.missed], minlength=size)
    return [{kind: int(column[k]) for kind, column in table.items()} for k in range(size)]


def _stages(explanations):
    if explanations is None:
        return None
    # Only a model makes explanations, so TensorFlow is there.
    from keras_maskrcnn.explaining import summary

    return summary(explanations)


def _mean(values):
    """Returns the mean of the values that exist; NaN without any."""
    values = np.asarray(values)[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan


def _without_minus_one(metrics):
    """Replaces COCO's -1, which means that there was nothing to average."""
    return {name: None if value == -1 else value for name, value in metrics.items()}


def _plain(value):
    """Returns what `json.dump` writes: plain Python, rounded floats, None in place of NaN."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, float | np.floating):
        return round(float(value), 6) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
