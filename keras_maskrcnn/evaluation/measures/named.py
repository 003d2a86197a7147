"""Computes measures by their short names, for `evaluate`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.evaluation.measures.boundary import boundary_ap
from keras_maskrcnn.evaluation.measures.cell_tracking import seg_score
from keras_maskrcnn.evaluation.measures.counting import counting_error
from keras_maskrcnn.evaluation.measures.dsb import dsb_score
from keras_maskrcnn.evaluation.measures.federated import lvis_ap
from keras_maskrcnn.evaluation.measures.mask_fit import mask_quality
from keras_maskrcnn.evaluation.measures.panoptic import panoptic_quality
from keras_maskrcnn.typing import Path

MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "boundary": boundary_ap,
    "count": counting_error,
    "dsb": dsb_score,
    "lvis": lvis_ap,
    "masks": mask_quality,
    "pq": panoptic_quality,
    "seg": seg_score,
}
"""Short name to function."""

OF_BOXES = ("count", "lvis")
"""Measures that need no masks."""


def check_measures(names: Sequence[str], masks: bool = True) -> None:
    """Raises ValueError if there is no such measure, or it needs masks that nobody has.

    Args:
        names: sequence of str.
        masks: bool. Whether there are masks.
    """
    for name in names:
        if name not in MEASURES:
            raise ValueError(
                f"measures must be of {', '.join(MEASURES)}. Received: measures={list(names)!r}."
            )
        if not masks and name not in OF_BOXES:
            raise ValueError(f"this measure needs masks. Received: measures={list(names)!r}.")


def measure(
    names: Sequence[str],
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float = 0.5,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
    masks: bool = True,
) -> dict[str, float]:
    """Computes measures.

    Args:
        names: sequence of keys of `MEASURES`.
        results: list of COCO results, or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out by the measures
            that look at the final detections, all but "boundary" and "lvis".
        image_ids, category_ids: sequences of the ids that count; None for all.
        masks: bool. Whether results and annotations have masks.

    Returns:
        dict of "name/number", such as "dsb/score" or "boundary/AP", to float.

    Raises:
        ValueError: if there is no such measure, or it needs masks.
        DataError: if the files lack what a measure needs.
    """
    check_measures(names, masks)
    content = annotations if isinstance(annotations, dict) else read_json(annotations)
    found = {}
    for name in names:
        options: dict[str, Any] = {"image_ids": image_ids, "category_ids": category_ids}
        if name == "lvis":
            options["iou_type"] = "segm" if masks else "bbox"
        elif name != "boundary":
            options["score_threshold"] = score_threshold
        for key, value in MEASURES[name](results, content, **options).items():
            found[f"{name}/{key}"] = value
    return found
