"""Measures how the time of inference grows with image area, proposals, classes and detections.

    python benchmarks/growth.py --output=growth.png [--repeats=5]

The model is ResNet-50-FPN with one image; pasting is included, as in `speed.py`. One of the four
varies; the others stay at 512 x 512 pixels, 1000 proposals, 90 classes and 100 detections. It
prints a table and draws it with matplotlib, which the package does not need.
"""

import argparse
import gc
import pathlib
import statistics
import time

from speed import calibrated_model, scene

import keras_maskrcnn as mrcnn

BASE = {"side": 512, "proposals": 1000, "classes": 90, "detections": 100}
VALUES = {
    "side": (256, 512, 768, 1024),
    "proposals": (100, 500, 1000, 2000),
    "classes": (1, 90, 1203),
    "detections": (10, 100, 300),
}


def seconds(repeats, side, proposals, classes, detections):
    """Returns the median time per image, and the number of detections."""
    image, *_ = scene(side, side, 0)
    model = calibrated_model(
        image,
        side,
        side,
        num_classes=classes,
        test_pre_nms=max(1000, proposals),
        test_proposals=proposals,
        detections_per_image=detections,
        score_threshold=0.0,
    )
    found = mrcnn.predict_image(model, image)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        mrcnn.predict_image(model, image)
        times.append(time.perf_counter() - start)
    return statistics.median(times), len(found["scores"])


def draw(path, results):
    """Draws a panel for each of the four."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(VALUES), figsize=(16, 3.5), sharey=True)
    for axis, (name, points) in zip(axes, results.items(), strict=True):
        x = [value**2 / 1e6 if name == "side" else value for value, _ in points]
        axis.plot(x, [y for _, y in points], "o-", color="#0072b2")
        axis.set_xlabel("megapixels" if name == "side" else name)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("seconds per image")
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def main():
    """Times, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="PNG to write")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    results = {}
    print("| | value | s | detections |\n| --- | --- | --- | --- |")
    for name, values in VALUES.items():
        results[name] = []
        for value in values:
            median, found = seconds(arguments.repeats, **(BASE | {name: value}))
            results[name].append((value, median))
            print(f"| {name} | {value} | {median:.2f} | {found} |", flush=True)
            gc.collect()  # a Keras model refers to itself, so only this frees it
    draw(arguments.output, results)


if __name__ == "__main__":
    main()
