"""What pictures of large images share: the open image, which objects are shown, their classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn import visualize
from keras_maskrcnn.instance_masks import InstanceMasks


def labels_of(found: Mapping[str, Any]) -> np.ndarray:
    """Returns the labels (n,) int64; those of no object may be an empty list."""
    return np.asarray(found["labels"], np.int64)


def require_score(score_threshold: float) -> None:
    """Raises ValueError if a threshold is not in 0..1."""
    if not 0 <= score_threshold <= 1:
        raise ValueError(
            f"score_threshold must be in 0..1. Received: score_threshold={score_threshold!r}."
        )


def shown_objects(found: Mapping[str, Any], score_threshold: float) -> np.ndarray:
    """Returns the indices (n,) of objects with a score this high; small ones last, thus on top.

    Args:
        found: dict as `predict_image` returns it; "scores" may be absent.
        score_threshold: float in [0, 1].
    """
    shown = labels_of(found) > 0
    if found.get("scores") is not None:
        shown &= np.asarray(found["scores"]) >= score_threshold
    return visualize.largest_first(np.asarray(found["boxes"], float).reshape(-1, 4), shown)


def names_of(found: Mapping[str, Any], class_names: Sequence[str] | None) -> list[str]:
    """Returns a name for each label from 1 to the highest; without one, its number.

    Args:
        found: dict as `predict_image` returns it.
        class_names: sequence of str, label 1 first. None takes those of `found`.
    """
    given = found.get("class_names", ()) if class_names is None else class_names
    labels = labels_of(found)
    highest = max(len(given), int(labels.max(initial=0)))
    return [str(given[i]) if i < len(given) else str(i + 1) for i in range(highest)]


def kind_of(found: Mapping[str, Any]) -> tuple[int, str] | None:
    """Returns the channels and the dtype of the pixels that the objects were found in.

    Args:
        found: dict or `LargeDetections`. Only the latter knows; None for all others.
    """
    record = getattr(found, "record", None)
    return None if record is None else (record.channels, record.image_dtype)


def masks_of(found: Mapping[str, Any], source: Any) -> Any:
    """Returns the masks of `found` in windows, or None if it has boxes only.

    Raises:
        ValueError: if they are not those of an image of the source's size.
    """
    masks = found.get("masks")
    if masks is None:
        return None
    masks = masks if hasattr(masks, "crop") else InstanceMasks.of(np.asarray(masks))
    if tuple(masks.size) != (source.height, source.width):
        raise ValueError(
            f"masks must have the size of {source.name}, ({source.height}, {source.width}). "
            f"Received: size={tuple(masks.size)}."
        )
    return masks
