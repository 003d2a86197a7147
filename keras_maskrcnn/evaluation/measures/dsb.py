"""The score of the Data Science Bowl 2018, for nuclei.

Source: Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science
Bowl", Nature Methods 2019, and the competition's page "Evaluation".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.evaluation.measures.image_objects import read_images
from keras_maskrcnn.typing import Path

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def dsb_score(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Computes the mean over images of the mean over IoU thresholds of TP / (TP + FP + FN).

    A hit is an IoU above the threshold. Masks must not overlap, so a pixel belongs to the detection
    with the highest score. Classes are not looked at. Images without objects and detections do not
    count.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of "score", and of "score50" and "score75" at these IoU thresholds alone: floats in
            0..1, or -1 without an image.

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
    scores = [_of_image(image.overlaps()) for image in images if image.true or image.found]
    if not scores:
        return {"score": -1.0, "score50": -1.0, "score75": -1.0}
    means = np.mean(scores, axis=0)
    return {"score": float(means.mean()), "score50": float(means[0]), "score75": float(means[5])}


def _of_image(overlaps):
    """Returns TP / (TP + FP + FN) of one image at each threshold, (10,)."""
    true, found = overlaps.sum(axis=1)[1:], overlaps.sum(axis=0)[1:]
    true, found = true[true > 0], found[found > 0]  # without hidden masks
    shared = overlaps[1:, 1:][np.ix_(overlaps.sum(axis=1)[1:] > 0, overlaps.sum(axis=0)[1:] > 0)]
    ious = shared / np.maximum(true[:, None] + found - shared, 1)
    # Above 0.5 an object has one partner at most, because masks do not overlap.
    hits = np.array([np.count_nonzero(ious > threshold) for threshold in THRESHOLDS])
    return hits / (len(true) + len(found) - hits)
