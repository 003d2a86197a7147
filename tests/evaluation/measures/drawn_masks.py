"""COCO results and annotations of drawn masks."""

import numpy as np
from pycocotools import mask as coco_mask

SIZE = 40, 60


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def entry(mask, image_id=1, category_id=1, **fields):
    """A COCO annotation, or with a score a result."""
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    bbox = coco_mask.toBbox(rle).tolist()
    rle = {"size": rle["size"], "counts": rle["counts"].decode()}
    shape = {"segmentation": rle, "bbox": bbox}
    kind = {} if "score" in fields else {"area": float(np.sum(mask)), "iscrowd": 0}
    return {"image_id": image_id, "category_id": category_id, **shape, **kind, **fields}


def content(annotations, images=1, classes=1):
    """A COCO annotation file."""
    return {
        "images": [
            {"id": i + 1, "file_name": f"{i + 1}.png", "height": SIZE[0], "width": SIZE[1]}
            for i in range(images)
        ],
        "annotations": [{**a, "id": i + 1} for i, a in enumerate(annotations)],
        "categories": [{"id": i + 1, "name": f"class {i + 1}"} for i in range(classes)],
    }
