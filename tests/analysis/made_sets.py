"""Random data sets of ellipses with predictions that go wrong in all ways, for tests."""

import numpy as np
from pycocotools import mask as coco_mask

HEIGHT, WIDTH = 48, 64
CATEGORIES = [
    {"id": 3, "name": "cell"},
    {"id": 7, "name": "nucleus"},
    {"id": 15, "name": "<b>debris</b>"},
]


def shape(center, radii):
    """Returns the fields of an ellipse, or of a rectangle for one radius."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    mask = ((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2 < 1
    return of_mask(mask)


def of_mask(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    box = coco_mask.toBbox(encoded).tolist()
    segmentation = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    return {"bbox": box, "segmentation": segmentation, "area": float(mask.sum())}


def box(x1, y1, x2, y2):
    """Returns the fields of a rectangle."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y1:y2, x1:x2] = True
    return of_mask(mask)


def made(num_images=12, seed=0, crowds=True, digits=2, categories=CATEGORIES):
    """Returns annotations and results. `digits` rounds the scores, so that some are equal."""
    rng, ids = np.random.default_rng(seed), [c["id"] for c in categories]
    images, annotations, results = [], [], []
    for i in range(num_images):
        image_id = 10 * i + 4
        images.append({"id": image_id, "file_name": f"{i}.png", "height": HEIGHT, "width": WIDTH})
        for _ in range(rng.integers(0, 9)):
            center, radii = rng.uniform([4, 4], [WIDTH - 4, HEIGHT - 4]), rng.uniform(2, 12, 2)
            category = int(rng.choice(ids))
            annotation = {"image_id": image_id, "category_id": category, **shape(center, radii)}
            crowd = int(crowds and rng.random() < 0.1)
            annotations.append({"id": len(annotations) + 1, "iscrowd": crowd, **annotation})
            for _ in range(rng.integers(0, 4)):
                noise = rng.choice([0.3, 1, 3])
                found = shape(center + rng.normal(0, noise, 2), radii * np.exp(rng.normal(0, 0.2)))
                category = category if rng.random() < 0.8 else int(rng.choice(ids))
                results.append({"image_id": image_id, "category_id": category, **found})
        if rng.random() < 0.8:
            found = shape(rng.uniform([4, 4], [WIDTH - 4, HEIGHT - 4]), rng.uniform(2, 9, 2))
            results.append({"image_id": image_id, "category_id": int(rng.choice(ids)), **found})
    results = [result for result in results if result.pop("area")]
    for result in results:
        result["score"] = round(float(rng.random()), digits)
    content = {"images": images, "annotations": annotations, "categories": list(categories)}
    return content, results
