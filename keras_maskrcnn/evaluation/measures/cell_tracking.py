"""SEG, the segmentation score of the Cell Tracking Challenge.

Source: Maška et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics 2014,
section 2.3, and the challenge's page "Evaluation methodology".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.evaluation.measures.image_objects import read_images
from keras_maskrcnn.typing import Path


def seg_score(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Computes the mean Jaccard index of all annotated objects, 0 for those without a match.

    A detection matches an object if it covers more than half of the object's pixels. Masks must not
    overlap, so a pixel belongs to the detection with the highest score. Classes are not looked at,
    and detections without a match cost nothing.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of "SEG": float in 0..1, or -1 without an object.

    Raises:
        DataError: if a mask or another field is missing.
        ValueError: if the threshold is out of its range.
    """
    images = read_images(
        results,
        annotations,
        score_threshold=score_threshold,
        image_ids=image_ids,
        category_ids=category_ids,
    )
    values = [_jaccard(image.overlaps()) for image in images if image.true]
    values = np.concatenate([np.zeros(0), *values])
    return {"SEG": float(values.mean()) if values.size else -1.0}


def _jaccard(overlaps):
    """Returns the Jaccard index of each annotated object of one image that can be seen."""
    true, found = overlaps.sum(axis=1)[1:, None], overlaps.sum(axis=0)[None, 1:]
    shared = overlaps[1:, 1:]
    matched = shared > true / 2  # one detection at most
    values = np.where(matched, shared / np.maximum(true + found - shared, 1), 0)
    return values.sum(axis=1)[true[:, 0] > 0]
