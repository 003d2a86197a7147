"""Makes pycocotools' COCO objects from annotations, results and proposals."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_maskrcnn.data.coco_checks import has_area, long_polygons, read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.detections import coco_box
from keras_maskrcnn.typing import Path


def load_annotations(annotations: Path | dict[str, Any], iou_type: str) -> COCO:
    """Makes the COCO object of an annotation file, or of its content.

    It repairs what pycocotools cannot handle:

    - Annotation ids become 1, 2, ..., because COCOeval needs numbers, and id 0 means "not matched".
    - A missing "iscrowd" becomes 0. A missing or impossible "area" becomes the area of the mask, or
      else of the box.
    - Polygons with fewer than 3 points are left out, because pycocotools would read 2 points as a
      box.
    - With "segm", the box of an object without an outline becomes a region to ignore, like a crowd.

    Args:
        annotations: path of a COCO annotation file, or its content, which is not changed.
        iou_type: "bbox" or "segm".

    Raises:
        DataError: if another field is missing.
    """
    truth = COCO()
    if isinstance(annotations, dict):
        where, truth.dataset = "annotations", copy.deepcopy(annotations)
    else:
        where, truth.dataset = annotations, read_json(annotations)
    sizes = {
        image["id"]: (image.get("height"), image.get("width"))
        for image in truth.dataset.get("images", [])
    }
    for i, annotation in enumerate(truth.dataset.get("annotations", [])):
        for key in ("image_id", "category_id", "bbox"):
            if annotation.get(key) is None:
                raise DataError(f"{where}: annotation {annotation.get('id')!r}: {key} is missing.")
        annotation["id"] = i + 1
        _mend(annotation, sizes.get(annotation["image_id"]), iou_type)
    truth.createIndex()
    return truth


def _mend(annotation, size, iou_type):
    """Repairs an annotation in place. `size` is the (height, width) of its image."""
    x, y, width, height = annotation["bbox"]
    outline = annotation.get("segmentation")
    if isinstance(outline, list):
        outline = long_polygons(outline)
    annotation["segmentation"] = outline
    annotation["iscrowd"] = annotation.get("iscrowd") or 0
    if not has_area(annotation):
        area = _mask_area(outline, size)
        annotation["area"] = width * height if area is None else area
    if not outline and iou_type == "segm":
        annotation["iscrowd"] = 1
        right, bottom = x + width, y + height
        annotation["segmentation"] = [[x, y, right, y, right, bottom, x, bottom]]


def _mask_area(outline, size):
    """Returns the number of pixels in an outline; None if there is none, or it is unreadable."""
    if not outline or size is None:
        return None
    try:
        height, width = size
        counts, _ = read_segmentation(outline, height, width, "")
    except (DataError, TypeError):  # either only boxes are needed, or pycocotools raises an error
        return None
    return float(coco_mask.area({"size": size, "counts": counts}))


def load_results(truth: COCO, results: Sequence[Mapping[str, Any]], iou_type: str) -> COCO:
    """Makes the COCO object of results, with the fields that one IoU type needs.

    With "segm" the boxes are left out. Otherwise COCO would use the area of the box, not of the
    mask, to decide whether an object is small, medium or large.
    """
    if not results:  # COCO.loadRes([]) raises
        return coco_object([])
    shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
    names = ("image_id", "category_id", "score", shape)
    # A copy, because loadRes changes its argument.
    return truth.loadRes([{name: result[name] for name in names} for result in results])


def load_proposals(
    boxes: np.ndarray, scores: np.ndarray, image_id: int | str, category_id: int
) -> COCO:
    """Makes the COCO object of one image's proposals. `COCO.loadRes` would copy every image.

    Args:
        boxes: (n, 4) float [x1, y1, x2, y2] in pixels of the original image.
        scores: (n,) float.
        image_id: int or str. Id of the image.
        category_id: int. Category id for all proposals, because they have no class.
    """
    annotations = []
    for i, (box, score) in enumerate(zip(np.asarray(boxes, np.float64), scores, strict=True)):
        result = coco_box(box, score, 1, [category_id])
        area = result["bbox"][2] * result["bbox"][3]
        annotations.append({"id": i + 1, "image_id": image_id, "area": area, **result})
    return coco_object(annotations)


def coco_object(annotations: list[dict[str, Any]]) -> COCO:
    """Makes a COCO object from detections that have all fields it needs."""
    loaded = COCO()
    loaded.dataset = {"annotations": annotations}
    loaded.createIndex()
    return loaded
