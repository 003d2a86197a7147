"""Compares two models on the same images: is B better than A, by how much, and on which images?"""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_maskrcnn.analysis.bootstrap import RESAMPLES, paired_bootstrap
from keras_maskrcnn.analysis.image_changes import best_threshold, image_changes
from keras_maskrcnn.analysis.matching import match
from keras_maskrcnn.analysis.resampling import Flags
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.evaluation.coco_metrics import labels_of
from keras_maskrcnn.evaluation.result_lists import read_result_list, shared_types
from keras_maskrcnn.typing import Path


def compare(
    results_a: Path | Sequence[Mapping[str, Any]],
    results_b: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    iou_types: Sequence[str] | None = None,
    max_detections: int = 100,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    score_threshold: float | None = None,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
    verbose: int = 1,
) -> dict[str, Any]:
    """Compares the results of two models, with a paired bootstrap over the images.

    Args:
        results_a, results_b: list of COCO results, or the path of a json file with it, also the
            `predictions.json` of the command `predict`.
        annotations: path of the COCO annotation file, or its content.
        iou_types: subset of ("bbox", "segm"). None: those for which all results have a shape.
        max_detections: int. Detections counted per image and class, as in `evaluate_results`.
        image_ids: sequence of image ids that count; None for all of the file.
        category_ids: sequence of int. Category ids that count; None for all of the file.
        class_names: sequence of str. Names of these categories. None: those of the file.
        score_threshold: float. For the ranking of images: detections with a lower score do not
            count. None: each model has the threshold that gives it the best F1.
        resamples: int. Draws of the bootstrap.
        confidence: float in (0, 1). Of the interval.
        seed: int. Of the draws.
        verbose: int. 0 is silent, 1 shows a progress bar.

    Returns:
        dict that can be written as json:

            - metrics: as from `bootstrap.paired_bootstrap`: AP of boxes and masks, by size, class.
            - images: as from `image_changes.image_changes`, by masks if there are any.
            - score_thresholds: {"a": float, "b": float} that the images were judged with.
            - image_count, resamples, confidence, seed.

    Raises:
        DataError: if results do not belong to the annotations, or have no shape in common.
        ValueError: if a number is out of its range, or a chosen id is not in the file.
    """
    _check(resamples=resamples, confidence=confidence)
    content = annotations if isinstance(annotations, dict) else read_json(annotations)
    both = [
        read_result_list(results, content, name)
        for results, name in ((results_a, "results_a"), (results_b, "results_b"))
    ]
    iou_types = shared_types(*both) if iou_types is None else list(iou_types)
    if not iou_types:
        raise DataError("all results must have a bbox, or all a segmentation, to be compared.")
    pairs = {}
    for iou_type in iou_types:
        a, b = (
            Flags(
                match(
                    results,
                    content,
                    iou_type=iou_type,
                    max_detections=max_detections,
                    category_ids=category_ids,
                    class_names=class_names,
                    image_ids=image_ids,
                )
            )
            for results in both
        )
        pairs[iou_type] = (a, b)
    pair = pairs["segm" if "segm" in pairs else "bbox"]
    labels = labels_of(dict(zip(pair[0].category_ids, pair[0].class_names, strict=True)))
    metrics = paired_bootstrap(
        pairs, labels, resamples=resamples, confidence=confidence, seed=seed, verbose=verbose
    )
    thresholds = [
        best_threshold(flags) if score_threshold is None else score_threshold for flags in pair
    ]
    return {
        "image_count": len(pair[0].image_ids),
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
        "metrics": {name: _rounded(entry) for name, entry in metrics.items()},
        "score_thresholds": dict(zip("ab", thresholds, strict=True)),
        "images": image_changes(pair, thresholds),
    }


def _check(resamples, confidence):
    if not isinstance(resamples, int) or resamples < 1:
        raise ValueError(f"resamples must be a positive int. Received: resamples={resamples!r}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1). Received: confidence={confidence!r}.")


def _rounded(entry):
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in entry.items()}
