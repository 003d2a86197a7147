"""Runs COCO's evaluation by pycocotools, or by a faster package with the same numbers."""

import contextlib
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.evaluation.coco_objects import load_results

ENGINES = ("pycocotools", "faster_coco_eval")


def check_engine(engine: str) -> None:
    """Raises ValueError if there is no such engine, ImportError if its package is missing."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}. Received: engine={engine!r}.")
    if engine == "faster_coco_eval":
        _faster()


def run_engine(
    truth: COCO,
    results: Sequence[Mapping[str, Any]],
    iou_type: str,
    *,
    max_detections: int = 100,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
    engine: str = "pycocotools",
) -> Any:
    """Compares results with annotations.

    Args:
        truth: COCO object, from `load_annotations`.
        results: list of COCO results; may be empty.
        iou_type: "bbox" or "segm".
        max_detections: int. The largest of the three limits of detections per image.
        image_ids, category_ids: sequences of the ids that count; None for all.
        engine: one of `ENGINES`.

    Returns:
        COCOeval, or an object that has its attributes `params` and `eval`.

    Raises:
        ValueError: if there is no such engine.
        ImportError: if the engine's package is not installed.
    """
    check_engine(engine)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        if engine == "pycocotools":
            found = COCOeval(truth, load_results(truth, results, iou_type), iou_type)
            places = {identity: identity for identity in truth.imgs}
        else:
            found, places = _faster_evaluation(truth, results, iou_type)
        if image_ids is not None:
            found.params.imgIds = sorted(places[identity] for identity in image_ids)
        if category_ids is not None:
            found.params.catIds = sorted(category_ids)
        found.params.maxDets = [1, 10, max_detections]
        found.evaluate()
        found.accumulate()
    return found


def _faster_evaluation(truth, results, iou_type):
    """Makes a COCOeval_faster of faster_coco_eval.

    That package knows images by whole numbers only, so they get numbers in pycocotools' order.
    """
    package = _faster()
    places = {identity: i for i, identity in enumerate(sorted(truth.imgs))}

    def numbered(entries, key):
        return [{**entry, key: places[entry[key]]} for entry in entries]

    own = package.COCO(
        {
            "images": numbered(truth.imgs.values(), "id"),
            "annotations": numbered(truth.anns.values(), "image_id"),
            "categories": list(truth.cats.values()),
        }
    )
    loaded = load_results(truth, results, iou_type)  # areas as pycocotools has them
    detections = package.COCO({**own.dataset, "annotations": []})
    detections.dataset["annotations"] = numbered(loaded.anns.values(), "image_id")
    detections.createIndex()
    return package.COCOeval_faster(own, detections, iou_type, print_function=logging.debug), places


def _faster():
    """Imports faster_coco_eval."""
    try:
        import faster_coco_eval
    except ImportError as error:
        raise ImportError(
            "engine='faster_coco_eval' needs the package faster-coco-eval; "
            "pip install 'keras3-maskrcnn[engine]'. "
            f"Received: {error}."
        ) from error
    return faster_coco_eval
