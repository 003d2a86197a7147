"""Computes COCO's metrics of results with pycocotools (§4)."""

import collections
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from keras_maskrcnn.data.class_names import compare_names
from keras_maskrcnn.evaluation.coco_objects import load_annotations
from keras_maskrcnn.evaluation.engines import run_engine
from keras_maskrcnn.typing import Path


def evaluate_results(
    results: Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    max_detections: int = 100,
    iou_types: Sequence[str] = ("bbox", "segm"),
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    per_class: bool = False,
    engine: str = "pycocotools",
) -> dict[str, float]:
    """Compares COCO results with an annotation file.

    Args:
        results: list of COCO results with "bbox" and, for "segm", "segmentation"; may be empty.
        annotations: path of a COCO annotation file, or its content.
        max_detections: int above 10. Detections counted per image. COCO's value is 100.
        iou_types: subset of ("bbox", "segm").
        image_ids: sequence of image ids to count; None for all of the file.
        category_ids: sequence of int. Category ids to count; None for all of the file.
        class_names: sequence of str. Names of these categories in training. None accepts any names.
        per_class: bool. Adds the AP of each class, as `bbox/AP/<class name>` and so on.
        engine: "pycocotools", or "faster_coco_eval" for the same numbers in less time. It needs the
            extra `engine`.

    Returns:
        dict of name to float: twelve numbers per IoU type. 0 if nothing was found, -1 if there was
            nothing to find.

    Raises:
        ValueError: if `max_detections` is 10 or less, because AR1 and AR10 are among the metrics,
            or there is no such engine.
        ImportError: if the engine's package is not installed.
        DataError: if a category of the file had another name in training.
    """
    check_max_detections(max_detections)
    metrics = {}
    for iou_type in iou_types:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            truth = load_annotations(annotations, iou_type)
        where = annotations if isinstance(annotations, str) else "annotations"
        names = _names(truth, category_ids, class_names, where)
        coco_eval = run_engine(
            truth,
            results,
            iou_type,
            max_detections=max_detections,
            image_ids=image_ids,
            category_ids=category_ids,
            engine=engine,
        )
        for name, value in summarize(coco_eval, names if per_class else None).items():
            metrics[f"{iou_type}/{name}"] = value
    if iou_types:
        _warn_of_crowded(truth, max_detections)
    return metrics


def _warn_of_crowded(truth, max_detections):
    """Says that scores are low because of the limit, as on large images."""
    places = ((x["image_id"], x["category_id"]) for x in truth.anns.values())
    most = max(collections.Counter(places).values(), default=0)
    if most > max_detections:
        logging.warning(
            "an image has %d objects of one class, of which max_detections=%d can be found; raise "
            "max_detections.",
            most,
            max_detections,
        )


def _names(truth, category_ids, class_names, where):
    """Returns a dict of category id to name: the name in training, or else that of the file."""
    names = {i: category.get("name", str(i)) for i, category in truth.cats.items()}
    if class_names:
        ids = sorted(names) if category_ids is None else category_ids
        known = dict(zip(ids, class_names, strict=True))
        compare_names(names, known, where)
        names |= known
    return names


def summarize(coco_eval: Any, names: Mapping[int, str] | None = None) -> dict[str, float]:
    """Computes the twelve numbers of `COCOeval.summarize`, for any number of detections.

    `COCOeval.summarize` itself is not used, because its first number is always for 100 detections:
    with another limit it is -1.

    Args:
        coco_eval: COCOeval after `accumulate`.
        names: dict of category id to name. Adds the AP of each class.

    Returns:
        dict of "AP" and so on to float.
    """
    params = coco_eval.params
    precision = coco_eval.eval["precision"]  # (IoU, recall, class, area, max_detections)
    recall = coco_eval.eval["recall"]  # (IoU, class, area, max_detections)
    all_sizes, small, medium, large = range(4)  # params.areaRngLbl
    at_50, at_75 = (np.flatnonzero(np.isclose(params.iouThrs, iou)) for iou in (0.5, 0.75))
    metrics = {
        "AP": _mean(precision[..., all_sizes, -1]),
        "AP50": _mean(precision[at_50][..., all_sizes, -1]),
        "AP75": _mean(precision[at_75][..., all_sizes, -1]),
        "APs": _mean(precision[..., small, -1]),
        "APm": _mean(precision[..., medium, -1]),
        "APl": _mean(precision[..., large, -1]),
        **{
            f"AR{count}": _mean(recall[..., all_sizes, i]) for i, count in enumerate(params.maxDets)
        },
        "ARs": _mean(recall[..., small, -1]),
        "ARm": _mean(recall[..., medium, -1]),
        "ARl": _mean(recall[..., large, -1]),
    }
    if names is not None:
        labels = labels_of({i: names.get(i, str(i)) for i in params.catIds})
        for i, label in enumerate(labels):
            metrics[f"AP/{label}"] = _mean(precision[:, :, i, all_sizes, -1])
    return metrics


def labels_of(names: Mapping[int, str]) -> list[str]:
    """Returns a label for each category: its name, with its id if two categories have this name.

    Args:
        names: dict of category id to name.
    """
    counts = collections.Counter(names.values())
    return [name if counts[name] == 1 else f"{name} ({i})" for i, name in names.items()]


def check_max_detections(max_detections: int) -> None:
    """Raises ValueError if a limit of detections per image is 10 or less."""
    if not max_detections > 10:  # AR1 and AR10 are among the metrics
        raise ValueError(
            f"max_detections must exceed 10. Received: max_detections={max_detections!r}."
        )


def _mean(values):
    """Averages the values that pycocotools could compute; -1 if there are none."""
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0
