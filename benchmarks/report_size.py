"""Measures the numbers of a report (`analysis.report_numbers`) on a set of COCO's size.

    python benchmarks/report_size.py [--images=5000] [--detections=100] [--classes=80]

It draws objects of random forms and places, about seven per image, and detections around them and
elsewhere. It prints CPU time, wall time and peak memory of each step; the set itself is part of the
memory. Nothing of TensorFlow is imported.
"""

import argparse
import json
import resource
import time

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn import analysis

HEIGHT, WIDTH = 480, 640


def outline(rng, center, radius):
    """Returns the run lengths of a star of 24 corners."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    reach = radius * rng.uniform(0.7, 1, 24)
    x = np.clip(center[0] + reach * np.cos(angle), 0, WIDTH)
    y = np.clip(center[1] + reach * np.sin(angle), 0, HEIGHT)
    run_lengths = coco_mask.frPyObjects([np.stack([x, y], 1).ravel().tolist()], HEIGHT, WIDTH)[0]
    box = [float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))]
    return {"size": [HEIGHT, WIDTH], "counts": run_lengths["counts"].decode()}, box


def draw(images, detections, classes):
    """Returns annotations and results. They use a pool of 400 objects and 4 detections of each."""
    rng = np.random.default_rng(0)
    pool = []
    for _ in range(400):
        center, radius = rng.uniform([20, 20], [WIDTH - 20, HEIGHT - 20]), rng.uniform(8, 90)
        pool.append([outline(rng, center + rng.normal(0, 4, 2) * i, radius) for i in range(5)])
    areas = [float(coco_mask.area(entries[0][0])) for entries in pool]
    annotations, results = [], []
    for image in range(images):
        count = int(rng.poisson(7))
        chosen, categories = rng.integers(400, size=count), rng.integers(1, classes + 1, count)
        for i, category in zip(chosen.tolist(), categories.tolist(), strict=True):
            segmentation, box = pool[i][0]
            entry = {"image_id": image, "category_id": category, "bbox": box, "iscrowd": 0}
            entry |= {"segmentation": segmentation, "area": areas[i]}
            annotations.append({"id": len(annotations) + 1, **entry})
        near = rng.random(detections) < (0.4 if count else 0)
        same = near & (rng.random(detections) < 0.7)
        place = rng.integers(max(count, 1), size=detections)
        others = rng.integers(400, size=detections), rng.integers(1, classes + 1, detections)
        scores = np.where(same, rng.beta(4, 2, detections), rng.beta(1, 4, detections))
        variants = rng.integers(1, 5, detections)
        for k in range(detections):
            shape = chosen[place[k]] if near[k] else others[0][k]
            category = categories[place[k]] if same[k] else others[1][k]
            segmentation, box = pool[shape][variants[k]]
            entry = {"image_id": image, "category_id": int(category), "bbox": box}
            results.append({**entry, "score": float(scores[k]), "segmentation": segmentation})
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH}
            for i in range(images)
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": f"class {i}"} for i in range(1, classes + 1)],
    }
    return content, results


def measure(name, function):
    """Runs a step and prints what it took."""
    cpu, wall = time.process_time(), time.monotonic()
    value = function()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(f"{name}: CPU {cpu:.1f} s, wall {wall:.1f} s, peak {peak:.2f} GiB", flush=True)
    return value


def main():
    """Prints the time and memory of each step."""
    parser = argparse.ArgumentParser()
    for name, value in (("images", 5000), ("detections", 100), ("classes", 80)):
        parser.add_argument(f"--{name}", type=int, default=value)
    content, results = measure("drawing", lambda: draw(**vars(parser.parse_args())))
    matched = measure("match", lambda: analysis.match(results, content))
    measure("one assignment", matched.assign)
    measure("errors", lambda: analysis.find_errors(matched))
    numbers = measure(
        "report_numbers after match",
        lambda: analysis.report_numbers(results, content, matched=matched),
    )
    size = measure("json", lambda: len(json.dumps(numbers, allow_nan=False)))
    print(f"report.json: {size / 1e6:.1f} MB; {len(results)} detections")


if __name__ == "__main__":
    main()
