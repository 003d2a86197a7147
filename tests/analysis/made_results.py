"""A population of images with objects, and results of made-up detectors."""

import numpy as np


def make(seed, images=40, classes=3, per_image=4, crowds=True, first_id=1):
    """Returns COCO annotations of squares and rectangles; some images have none."""
    rng = np.random.default_rng(seed)
    ids = [first_id + 3 * i for i in range(images)]
    annotations = []
    for image_id in ids:
        for _ in range(rng.poisson(per_image)):
            width, height = np.exp(rng.uniform(np.log(8), np.log(180), 2)).round(1)
            x, y = rng.uniform(0, 300, 2).round(1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(rng.integers(classes)) * 2 + 1,
                    "bbox": [float(v) for v in (x, y, width, height)],
                    "area": float(width * height),
                    "iscrowd": int(crowds and rng.random() < 0.08),
                }
            )
    return {
        "images": [{"id": i, "height": 500, "width": 500, "file_name": f"{i}.png"} for i in ids],
        "annotations": annotations,
        "categories": [{"id": 2 * k + 1, "name": f"class {k}"} for k in range(classes)],
    }


def detect(annotations, seed, noise=0.1, found=0.9, false=2.0, skill=0.5):
    """Returns COCO results: objects moved by `noise` of their side, and false positives.

    `skill` is the share of a score that says whether it is right.
    """
    rng = np.random.default_rng(seed)
    results = []

    def add(image_id, category_id, box, right):
        score = skill * right + (1 - skill) * rng.random()
        bbox = [float(v) for v in np.maximum(box, [0, 0, 1, 1])]
        results.append(
            {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": float(score)}
        )

    categories = [category["id"] for category in annotations["categories"]]
    for annotation in annotations["annotations"]:
        box = np.array(annotation["bbox"])
        if rng.random() < found:
            sides = box[[2, 3, 2, 3]]
            moved = box + rng.normal(0, noise, 4) * sides
            add(annotation["image_id"], annotation["category_id"], moved, rng.uniform(0.3, 1))
    for image in annotations["images"]:
        for _ in range(rng.poisson(false)):
            box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(8, 150, 2)])
            add(image["id"], int(rng.choice(categories)), box, rng.uniform(0, 0.6))
    return results
