"""Judges single images: which of them got better, which got worse?

The score of an image is the mean, over the IoU thresholds 0.50 to 0.95, of
F1 = 2 TP / (2 TP + FP + FN). TP, FP and FN are the right, wrong and missed detections of all
classes in this image. Detections below a score threshold do not count. An image without objects and
without detections has the score 1: nothing is wrong with it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.analysis.resampling import Flags


def best_threshold(flags: Flags) -> float:
    """Finds the score threshold with the best F1 of all images, averaged over the IoU thresholds.

    Args:
        flags: Flags of one model.

    Returns:
        float. The score of the last detection that counts; 0 if there is none.
    """
    found = flags.detections
    if not len(found.score):
        return 0.0
    order = np.argsort(-found.score, kind="stable")
    score = found.score[order]
    true, false = (np.cumsum(x[:, order], axis=1) for x in (found.true, found.false))
    objects = int(flags.objects[:, :, 0].sum())
    f1 = 2 * true / np.maximum(true + false + objects, 1)
    last_of_ties = np.append(score[1:] != score[:-1], True)
    return float(score[np.argmax(np.where(last_of_ties, f1.mean(axis=0), -1))])


def image_scores(flags: Flags, threshold: float) -> np.ndarray:
    """Computes the score of each image, see the top of this module.

    Args:
        flags: Flags of one model.
        threshold: float. Detections with a lower score do not count.

    Returns:
        (N,) float64 in 0..1.
    """
    found, count = flags.detections, len(flags.image_ids)
    kept = found.score >= threshold
    image, objects = found.image[kept], flags.objects[:, :, 0].sum(axis=1)
    scores = np.zeros(count)
    for true, false in zip(found.true[:, kept], found.false[:, kept], strict=True):
        right, wrong = (np.bincount(image[x], minlength=count) for x in (true, false))
        total = right + wrong + objects
        scores += np.where(total > 0, 2 * right / np.maximum(total, 1), 1)
    return scores / len(flags.iou_thresholds)


def image_changes(pair: tuple[Flags, Flags], thresholds: Sequence[float]) -> dict[str, Any]:
    """Ranks the images by what changed from A to B.

    Args:
        pair: the Flags of A and B.
        thresholds: two floats. The score thresholds of A and B.

    Returns:
        dict of "better" and "worse", lists with the largest change first, and "unchanged", an int.
            An entry has image_id, file_name, a and b (the scores of the image), and change.
    """
    a, b = (image_scores(f, t) for f, t in zip(pair, thresholds, strict=True))
    change = b - a
    entries = [
        {
            "image_id": image_id,
            "file_name": pair[0].file_names[i],
            "a": round(float(a[i]), 6),
            "b": round(float(b[i]), 6),
            "change": round(float(change[i]), 6),
        }
        for i, image_id in enumerate(pair[0].image_ids)
    ]
    order = np.argsort(-np.abs(change), kind="stable")
    ranked = [entries[i] for i in order if abs(change[i]) > 1e-12]
    return {
        "better": [entry for entry in ranked if entry["change"] > 0],
        "worse": [entry for entry in ranked if entry["change"] < 0],
        "unchanged": len(entries) - len(ranked),
    }
