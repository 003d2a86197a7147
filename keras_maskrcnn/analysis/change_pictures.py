"""Pictures of one image: the annotated objects, what A found, and what B found."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.data.coco_checks import read_segmentation
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.visualize import Picture, as_rgb, draw, grid


def as_detections(
    entries: Iterable[Mapping[str, Any]], size: tuple[int, int], names: Mapping[int, str]
) -> dict[str, Any]:
    """Turns COCO annotations or results of one image into what `visualize.draw` takes.

    Args:
        entries: iterable of COCO annotations or results, all with or all without a segmentation.
            Entries without a bbox get that of their mask.
        size: (height, width) of the image.
        names: dict of category id to name, in the order of the labels.

    Returns:
        dict of boxes, labels, class_names; scores and masks if the entries have them.
    """
    entries, places = list(entries), {identity: i + 1 for i, identity in enumerate(names)}
    boxes, masks = [], []
    for entry in entries:
        outline = entry.get("segmentation")
        if outline:
            counts, _ = read_segmentation(outline, *size, "segmentation")
            run_lengths = {"size": list(size), "counts": counts}
            empty = np.zeros(size, bool)
            masks.append(empty if counts is None else coco_mask.decode(run_lengths).astype(bool))
        x, y, width, height = entry["bbox"] if entry.get("bbox") else _box(masks[-1])
        boxes.append([x, y, x + width, y + height])
    found: dict[str, Any] = {
        "boxes": np.array(boxes, np.float64).reshape(-1, 4),
        "labels": np.array([places[entry["category_id"]] for entry in entries], np.int64),
        "class_names": tuple(names.values()),
    }
    if entries and len(masks) == len(entries):
        found["masks"] = InstanceMasks.of(np.stack(masks))
    if entries and "score" in entries[0]:
        found["scores"] = np.array([entry["score"] for entry in entries])
    return found


def _box(mask):
    return coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, np.uint8))).tolist()


def side_by_side(
    image: Picture,
    objects: Iterable[Mapping[str, Any]],
    results: Mapping[str, Iterable[Mapping[str, Any]]],
    names: Mapping[int, str],
    titles: Mapping[str, str],
    **look: Any,
) -> np.ndarray:
    """Draws the annotated objects of an image and the results of models beside each other.

    Args:
        image: as in `visualize.draw`.
        objects: iterable of COCO annotations of this image.
        results: dict of a model's key to its COCO results of this image; all are drawn.
        names: dict of category id to name.
        titles: dict of the key to the text above the model's picture.
        **look: `bands` and `stretch`, as in `visualize.draw`.

    Returns:
        (H, W, 3) uint8.
    """
    image = as_rgb(image, **look)
    pictures, size = [], (image.shape[0], image.shape[1])
    for entries in (objects, *results.values()):
        found = as_detections(entries, size, names)
        pictures.append(draw(image, found, score_threshold=0))
    texts = ["annotated", *(titles[key] for key in results)]
    return grid(pictures, columns=len(pictures), titles=texts)
