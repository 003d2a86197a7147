"""LVIS' federated average precision, for frequent, common and rare classes.

Source: Gupta et al., "LVIS", CVPR 2019, section 3, and lvis-api's eval.py and results.py.
"""

import collections
import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.evaluation.coco_objects import load_annotations, load_results
from keras_maskrcnn.evaluation.result_lists import SHAPES, read_result_list
from keras_maskrcnn.typing import Path


def lvis_ap(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    iou_type: str = "segm",
    max_detections: int = 300,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Computes AP where not every class was annotated in every image.

    - A detection counts only if the image has objects of its class, or lists the class in
      `neg_category_ids`.
    - Without a match it is not wrong if the image lists its class in
      `not_exhaustive_category_ids`.
    - The best 300 detections of an image count, of all classes together.

    Args:
        results: list of COCO results, or the path of a json file with it.
        annotations: path of an LVIS annotation file, or its content.
        iou_type: "segm" or "bbox".
        max_detections: int, positive. Detections per image.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of float: "AP", "AP50", "AP75", "APs", "APm", "APl"; "APr", "APc" and "APf" for rare,
            common and frequent classes; "AR". -1 if there was nothing to find.

    Raises:
        DataError: if LVIS' fields are missing, or a result lacks a field.
        ValueError: if there is no such IoU type, or the number is out of its range.
    """
    if iou_type not in SHAPES:
        raise ValueError(f"iou_type must be 'segm' or 'bbox'. Received: iou_type={iou_type!r}.")
    if max_detections < 1:
        raise ValueError(
            f"max_detections must be positive. Received: max_detections={max_detections!r}."
        )
    content = annotations if isinstance(annotations, dict) else read_json(annotations)
    checked = read_result_list(results, content, needed=(SHAPES[iou_type],))
    _check_fields(content)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = load_annotations(content, iou_type)
        kept = _judged(truth, _best(checked, max_detections))
        evaluated = _Federated(truth, load_results(truth, kept, iou_type), iou_type)
        if image_ids is not None:
            evaluated.params.imgIds = sorted(image_ids)
        if category_ids is not None:
            evaluated.params.catIds = sorted(category_ids)
        evaluated.params.maxDets = [max_detections]
        evaluated.evaluate()
        evaluated.accumulate()
    return _summarize(evaluated, truth)


class _Federated(COCOeval):
    """COCOeval that ignores unmatched detections of classes that are not annotated exhaustively."""

    def evaluateImg(self, imgId: Any, catId: int, aRng: Any, maxDet: int) -> Any:
        """Returns the matches of one image and class."""
        found = super().evaluateImg(imgId, catId, aRng, maxDet)
        if found and catId in self.cocoGt.imgs[imgId]["not_exhaustive_category_ids"]:
            found["dtIgnore"] = np.logical_or(found["dtIgnore"], found["dtMatches"] == 0)
        return found


def _check_fields(content):
    """Raises DataError if images or categories lack LVIS' fields."""
    for name, fields in (
        ("images", ("neg_category_ids", "not_exhaustive_category_ids")),
        ("categories", ("frequency",)),
    ):
        for entry in content.get(name, []):
            for field in fields:
                if field not in entry:
                    raise DataError(
                        f"{name}: {entry.get('id')!r}: {field} is missing; only LVIS' files have "
                        "it."
                    )


def _best(results, max_detections):
    """Returns the detections of each image with the highest scores."""
    by_image = collections.defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    for some in by_image.values():
        if len(some) > max_detections:
            some.sort(key=lambda result: -result["score"])
    return [result for some in by_image.values() for result in some[:max_detections]]


def _judged(truth, results):
    """Returns the detections of classes about which something is known in their image."""
    known = {i: set(image["neg_category_ids"]) for i, image in truth.imgs.items()}
    for entry in truth.anns.values():
        known[entry["image_id"]].add(entry["category_id"])
    return [result for result in results if result["category_id"] in known[result["image_id"]]]


def _summarize(evaluated, truth):
    """Averages precision (IoU, recall, class, size, 1) and recall (IoU, class, size, 1)."""
    precision, recall = (evaluated.eval[name][..., 0] for name in ("precision", "recall"))
    thresholds = evaluated.params.iouThrs
    at_50, at_75 = (np.flatnonzero(np.isclose(thresholds, iou)) for iou in (0.5, 0.75))
    frequency = np.array([truth.cats[i]["frequency"] for i in evaluated.params.catIds])
    found = {
        "AP": precision[..., 0],
        "AP50": precision[at_50][..., 0],
        "AP75": precision[at_75][..., 0],
        "APs": precision[..., 1],
        "APm": precision[..., 2],
        "APl": precision[..., 3],
        **{f"AP{kind}": precision[:, :, frequency == kind, 0] for kind in "rcf"},
        "AR": recall[..., 0],
    }
    return {name: _mean(values) for name, values in found.items()}


def _mean(values):
    """Averages what could be computed; -1 if there is nothing."""
    values = values[values > -1]
    return float(values.mean()) if values.size else -1.0
