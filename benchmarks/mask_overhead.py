"""Times masks at inference: Mask R-CNN and its Faster R-CNN counterpart (§3.1, Inference).

    python benchmarks/mask_overhead.py [--repeats=10]

Both are ResNet-50-FPN with the same weights, one image of 800 x 1088, 1000 proposals and 100
detections. They run in turn. It prints the medians and their ratio, without and with the pasting of
the masks.
"""

import argparse
import dataclasses
import statistics
import time

import numpy as np
from speed import calibrated_model, scene

import keras_maskrcnn as mrcnn


def main():
    """Times both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    image, *_ = scene(800, 1088, 0)
    masks = calibrated_model(image, 800, 1088)
    boxes = mrcnn.MaskRCNN(dataclasses.replace(masks.config, task="boxes"))
    boxes.copy_networks(masks)
    calls = {
        "boxes": lambda: boxes.predict_on_batch(image[None]),
        "masks": lambda: masks.predict_on_batch(image[None]),
        "pasted masks": lambda: mrcnn.predict_image(masks, image),
    }
    found = {name: call() for name, call in calls.items()}  # the first calls trace the graphs
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"detections: {int(np.asarray(found['masks']['num_detections'])[0])}")
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s, {median / medians['boxes']:.2f} of boxes alone")


if __name__ == "__main__":
    main()
