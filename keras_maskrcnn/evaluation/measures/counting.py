"""Errors of counts: how many objects of each class are in an image?"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.evaluation.measures.image_objects import read_both
from keras_maskrcnn.typing import Path


def counting_error(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Compares the number of detections in each image with the number of annotated objects.

    Nothing is matched: a missed object and a wrong detection cancel each other. Images with a crowd
    do not count, because nobody knows how many objects it has.

    Args:
        results: list of COCO results, or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of floats, in objects per image; 0 is best:

            - MAE: mean of the absolute error of the number of all objects.
            - RMSE: root of the mean squared error.
            - bias: mean error; above 0 if too many are found.
            - class_MAE: mean of the absolute error of the number of objects of one class, over
              all images and classes.
            - images: number of images that counted. If it is 0, the others are -1.

    Raises:
        DataError: if a field is missing.
        ValueError: if the threshold is out of its range.
    """
    truth, kept = read_both(results, annotations, "bbox", score_threshold)
    classes = sorted(truth.cats if category_ids is None else category_ids)
    entries = [a for a in truth.anns.values() if a["category_id"] in set(classes)]
    crowded = {a["image_id"] for a in entries if a["iscrowd"]}
    images = [i for i in (truth.imgs if image_ids is None else image_ids) if i not in crowded]
    true, found = (
        collections.Counter((entry["image_id"], entry["category_id"]) for entry in some)
        for some in (entries, kept)
    )
    if not images:
        return {"MAE": -1.0, "RMSE": -1.0, "bias": -1.0, "class_MAE": -1.0, "images": 0.0}
    errors = np.array([[found[i, k] - true[i, k] for k in classes] for i in images], np.float64)
    total = errors.sum(axis=1)
    return {
        "MAE": float(np.abs(total).mean()),
        "RMSE": float(np.sqrt((total**2).mean())),
        "bias": float(total.mean()),
        "class_MAE": float(np.abs(errors).mean()) if classes else 0.0,
        "images": float(len(images)),
    }
