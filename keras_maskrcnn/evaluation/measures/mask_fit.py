"""How well does the mask of a found object fit? Dice, and the distance of the outlines.

Sources: Dice, Ecology 1945; Huttenlocher et al., "Comparing images using the Hausdorff distance",
PAMI 1993. The outlines and the 95th percentile are those of MedPy's `hd` and `hd95`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.evaluation.measures.image_objects import ImageObjects, read_images
from keras_maskrcnn.typing import Path


def mask_quality(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """Compares the masks of found objects with their annotated masks.

    In the order of the scores, each detection takes the free object of its class with the highest
    IoU, of at least 0.5. Objects that nobody found have no distance. So look at `found` first: a
    model that finds only easy objects has small distances.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Returns:
        dict of floats, -1 if there is nothing to average:

            - found: share of the annotated objects that a detection took.
            - dice: mean Dice coefficient of these objects.
            - dice_of_all: the same, with 0 for the other objects.
            - hausdorff: mean Hausdorff distance of the outlines, in pixels.
            - hausdorff95: the same, with the 95th percentile in place of the largest distance.

    Raises:
        DataError: if a mask or another field is missing.
        ImportError: if scipy is not installed.
        ValueError: if the threshold is out of its range.
    """
    dice, distances, count = [], [], 0
    for image in read_images(
        results,
        annotations,
        score_threshold=score_threshold,
        image_ids=image_ids,
        category_ids=category_ids,
    ):
        count += len(image.true)
        for found, true in pair_up(image):
            masks = [coco_mask.decode(rle) > 0 for rle in (image.found[found], image.true[true])]
            dice.append(2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.sum, masks)))
            distances.append(outline_distances(*masks))
    far = [float(np.max(d)) for d in distances]
    most = [float(np.percentile(d, 95)) for d in distances]
    return {
        "found": len(dice) / count if count else -1.0,
        "dice": _mean(dice),
        "dice_of_all": float(np.sum(dice)) / count if count else -1.0,
        "hausdorff": _mean(far),
        "hausdorff95": _mean(most),
    }


def pair_up(image: ImageObjects, iou: float = 0.5) -> list[tuple[int, int]]:
    """Pairs detections with objects of their class.

    Args:
        image: ImageObjects.
        iou: float. Smallest IoU of a pair.

    Returns:
        list of (index of the detection, index of the object).
    """
    ious = image.ious()
    ious[image.found_classes[:, None] != image.true_classes] = 0
    pairs = []
    for i, row in enumerate(ious):
        if row.size and row.max() >= iou:
            best = int(row.argmax())
            pairs.append((i, best))
            ious[:, best] = 0  # taken
    return pairs


def outline_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the distance of each pixel of an outline to the other outline, of both.

    An outline is the pixels of a mask that have a neighbor (left, right, above, below) outside.

    Args:
        a, b: (H, W) bool, each with a pixel.

    Returns:
        (n,) float64 in pixels.

    Raises:
        ImportError: if scipy is not installed.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise ImportError(
            "Hausdorff distances need the package scipy; "
            f"pip install 'keras3-maskrcnn[measures]'. Received: {error}."
        ) from error
    both = a | b
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    outlines = [mask[window] & ~ndimage.binary_erosion(mask[window]) for mask in (a, b)]
    far = [ndimage.distance_transform_edt(~outline) for outline in outlines]
    return np.concatenate([far[1][outlines[0]], far[0][outlines[1]]])


def _mean(values):
    return float(np.mean(values)) if values else -1.0
