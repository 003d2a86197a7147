"""Panoptic quality of things.

Source: Kirillov et al., "Panoptic Segmentation", CVPR 2019, and panopticapi's evaluation.py.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.evaluation.measures.image_objects import ImageObjects, read_images
from keras_maskrcnn.typing import Path


def panoptic_quality(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Computes PQ, SQ and RQ, averaged over the classes that occur.

    Panoptic masks do not overlap. So a pixel belongs to the detection with the highest score, and
    to the smallest annotated object. Pixels without an object are background, as stuff is: they are
    not panopticapi's "void", where errors do not count. A detection that lies by more than half in
    crowds of its class counts neither as right nor as wrong.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of "PQ", "SQ" and "RQ": floats in 0..1, or -1 if no class occurs.

    Raises:
        DataError: if a mask or another field is missing.
        ValueError: if the threshold is out of its range.
    """
    counts: dict[int, np.ndarray] = collections.defaultdict(lambda: np.zeros(4))
    for image in read_images(
        results,
        annotations,
        score_threshold=score_threshold,
        image_ids=image_ids,
        category_ids=category_ids,
    ):
        _add(counts, image)
    rows = [row for row in counts.values() if row[:3].any()]
    if not rows:
        return {"PQ": -1.0, "SQ": -1.0, "RQ": -1.0}
    right, wrong, missed, iou = np.array(rows).T
    whole = right + wrong / 2 + missed / 2
    quality = {"PQ": iou / whole, "SQ": iou / np.maximum(right, 1), "RQ": right / whole}
    return {name: float(values.mean()) for name, values in quality.items()}


def _add(counts: dict[int, np.ndarray], image: ImageObjects) -> None:
    """Adds an image to the (TP, FP, FN, sum of the IoU) of each class."""
    overlaps = image.overlaps()
    true, found = overlaps.sum(axis=1)[1:], overlaps.sum(axis=0)[1:]
    shared = overlaps[1:, 1:]
    ious = shared / np.maximum(true[:, None] + found - shared, 1)
    ious[image.true_classes[:, None] != image.found_classes] = 0
    rows, columns = np.nonzero(ious > 0.5)  # one of each, because masks do not overlap
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        counts[image.true_classes[row]] += [1, 0, 0, ious[row, column]]
    for row in set(np.flatnonzero(true).tolist()) - set(rows.tolist()):
        counts[image.true_classes[row]] += [0, 0, 1, 0]
    for column in set(np.flatnonzero(found).tolist()) - set(columns.tolist()):
        if not _in_crowds(image, column):
            counts[image.found_classes[column]] += [0, 1, 0, 0]


def _in_crowds(image, index):
    """Whether more than half of a detection lies in crowds of its class."""
    same = image.crowd_classes == image.found_classes[index]
    crowds = [crowd for crowd, is_same in zip(image.crowds, same, strict=True) if is_same]
    if not crowds:
        return False
    # Of the detection and of the crowds, those pixels count that nothing else has.
    own = _pixels([image.found[index]]) & ~_pixels(image.found[:index], image.size)
    crowd = _pixels(crowds) & ~_pixels(image.true, image.size)
    return np.count_nonzero(own & crowd) > np.count_nonzero(own) / 2


def _pixels(masks, size=()):
    """Returns the union of masks as (H, W) bool; `size` is needed if there may be none."""
    return coco_mask.decode(coco_mask.merge(masks)) > 0 if masks else np.zeros(size, bool)
