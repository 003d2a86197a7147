"""pycocotools' COCO objects of annotations, results and proposals."""

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

    What pycocotools stumbles over is mended:

    - Ids become 1, 2, ...: COCOeval takes id 0 for "not matched", and wants numbers.
    - A missing "iscrowd" is 0. An "area" that is missing, or that no object can have, is the
      mask's, or else the box's.
    - Polygons of less than 3 points are left out; pycocotools would read 2 points as a box.
    - An object without outline cannot be judged by masks: then its box is a region to ignore, as
      crowds are.

    A field that is missing beside these is a DataError.

    Args:
        annotations: path of a COCO annotation file, or its content, which stays as it is.
        iou_type: "bbox" or "segm".
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
    """Fills in what an annotation lacks, in place; `size` is its image's height and width."""
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
    """The pixels that an outline covers; None if there is none, or it cannot be read."""
    if not outline or size is None:
        return None
    try:
        height, width = size
        counts, _ = read_segmentation(outline, height, width, "")
    except (DataError, TypeError):  # boxes are all that is needed, or pycocotools will name it
        return None
    return float(coco_mask.area({"size": size, "counts": counts}))


def load_results(truth: COCO, results: Sequence[Mapping[str, Any]], iou_type: str) -> COCO:
    """Makes the COCO object of results, with the fields that one IoU type needs.

    For masks the boxes are left out: COCO would take the area of the box for that of the mask, and
    count it among small, medium or large objects accordingly.
    """
    if not results:  # COCO.loadRes([]) raises
        return coco_object([])
    shape = {"bbox": "bbox", "segm": "segmentation"}[iou_type]
    names = ("image_id", "category_id", "score", shape)
    # A copy, for loadRes writes into its argument.
    return truth.loadRes([{name: result[name] for name in names} for result in results])


def load_proposals(
    boxes: np.ndarray, scores: np.ndarray, image_id: int | str, category_id: int
) -> COCO:
    """Makes the COCO object of one image's proposals; `COCO.loadRes` would copy every image.

    Args:
        boxes: (n, 4) [x1, y1, x2, y2] in pixels of the original image.
        scores: (n,).
        image_id: the image's id.
        category_id: the id that all proposals get, which have no class.
    """
    annotations = []
    for i, (box, score) in enumerate(zip(np.asarray(boxes, np.float64), scores, strict=True)):
        result = coco_box(box, score, 1, [category_id])
        area = result["bbox"][2] * result["bbox"][3]
        annotations.append({"id": i + 1, "image_id": image_id, "area": area, **result})
    return coco_object(annotations)


def coco_object(annotations: list[dict[str, Any]]) -> COCO:
    """Makes a COCO object of detections that have all its fields."""
    loaded = COCO()
    loaded.dataset = {"annotations": annotations}
    loaded.createIndex()
    return loaded
