"""Boundary AP: average precision that sees errors of outlines, of large objects too.

Source: Cheng et al., "Boundary IoU", CVPR 2021, and bowenc0221/boundary-iou-api.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.evaluation.coco_metrics import check_max_detections, summarize
from keras_maskrcnn.evaluation.coco_objects import coco_object, load_annotations, load_results
from keras_maskrcnn.evaluation.result_lists import read_result_list
from keras_maskrcnn.typing import Path


def boundary_ap(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    dilation_ratio: float = 0.02,
    max_detections: int = 100,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Computes COCO's metrics with min(mask IoU, boundary IoU) in place of the mask IoU.

    The boundary IoU is that of the pixels near the outline: of a mask without its erosion by
    `dilation_ratio` of the image's diagonal. Crowds are compared by their masks.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        dilation_ratio: float above 0. Width of the boundary as a share of the image's diagonal; at
            least one pixel.
        max_detections: int above 10. Detections counted per image.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of the twelve names of COCO's metrics, "AP" and so on, to float; -1 if there was
            nothing to find.

    Raises:
        DataError: if a mask or another field is missing.
        ValueError: if a number is out of its range.
    """
    check_max_detections(max_detections)
    if not dilation_ratio > 0:
        raise ValueError(
            f"dilation_ratio must be positive. Received: dilation_ratio={dilation_ratio!r}."
        )
    content = annotations if isinstance(annotations, dict) else read_json(annotations)
    checked = read_result_list(results, content, needed=("segmentation",))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = load_annotations(content, "segm")
        found = load_results(truth, checked, "segm")
        near = [_boundaries(truth, objects, dilation_ratio) for objects in (truth, found)]
        boundaries = COCOeval(*near, "segm")
        evaluated = _WithBoundaries(truth, found, boundaries)
        for one in (boundaries, evaluated):
            if image_ids is not None:
                one.params.imgIds = sorted(image_ids)
            if category_ids is not None:
                one.params.catIds = sorted(category_ids)
            one.params.maxDets = [1, 10, max_detections]
        # Of the boundaries only the IoUs are needed: few thresholds and sizes save time.
        boundaries.params.iouThrs = np.array([0.5])
        boundaries.params.areaRng = boundaries.params.areaRng[:1]
        boundaries.evaluate()
        evaluated.evaluate()
        evaluated.accumulate()
    return summarize(evaluated)


class _WithBoundaries(COCOeval):
    """COCOeval with the smaller one of two IoUs.

    Args:
        truth, found: COCO objects.
        boundaries: COCOeval of the boundaries of the same objects. It is evaluated first.
    """

    def __init__(self, truth: COCO, found: COCO, boundaries: COCOeval) -> None:
        super().__init__(truth, found, "segm")
        self.boundaries = boundaries

    def computeIoU(self, imgId: Any, catId: int) -> Any:
        """Returns the IoUs of the detections (best first) with the objects of one class."""
        ious = super().computeIoU(imgId, catId)
        near = self.boundaries.ious[imgId, catId]
        if len(ious) == 0 or len(near) == 0:
            return ious
        entries = self.cocoGt.imgToAnns[imgId]
        real = [not entry["iscrowd"] for entry in entries if entry["category_id"] == catId]
        return np.where(real, np.minimum(ious, near), ious)


def _boundaries(truth, objects, dilation_ratio):
    """Returns a COCO object with boundaries in place of the masks."""
    entries = []
    for entry in objects.anns.values():
        image = truth.imgs[entry["image_id"]]
        size = image["height"], image["width"]
        mask = coco_mask.decode(truth.annToRLE(entry))
        near = boundary(mask, boundary_width(size, dilation_ratio))
        encoded = coco_mask.encode(np.asfortranarray(near, np.uint8))
        entries.append({**entry, "segmentation": encoded})
    made = coco_object(entries)
    if objects is truth:
        made.dataset |= {name: truth.dataset.get(name, []) for name in ("images", "categories")}
        made.createIndex()
    else:
        made.imgs = truth.imgs
    return made


def boundary_width(size: Sequence[int], dilation_ratio: float = 0.02) -> int:
    """Returns the width of the boundary in pixels, at least 1.

    Args:
        size: (height, width) of the image.
        dilation_ratio: float. Share of the image's diagonal.
    """
    return max(1, round(dilation_ratio * float(np.sqrt(size[0] ** 2 + size[1] ** 2))))


def boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """Returns the pixels of a mask that a square erosion would remove.

    The outside of the image is background, so an object that the image cuts has a boundary there.

    Args:
        mask: (H, W) bool or uint8.
        width: int. Steps of an erosion by 3 x 3 pixels.

    Returns:
        (H, W) bool.
    """
    mask = np.asarray(mask, bool)
    near = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        inside = mask[window]
        for axis in (0, 1):
            inside = _eroded(inside, width, axis)
        near[window] = mask[window] & ~inside
    return near


def _eroded(mask, width, axis):
    """Keeps the pixels whose `width` neighbors on both sides along an axis are all in the mask."""
    before = [(width + 1, width) if i == axis else (0, 0) for i in range(2)]
    sums = np.cumsum(np.pad(mask, before), axis=axis, dtype=np.int32)
    span = 2 * width + 1
    whole = np.take(sums, range(span, sums.shape[axis]), axis=axis)
    return whole - np.take(sums, range(sums.shape[axis] - span), axis=axis) == span
