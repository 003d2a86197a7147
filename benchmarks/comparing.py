"""The paired bootstrap of `compare`: its coverage in a simulation, and its speed; and the engines.

    python benchmarks/comparing.py coverage               # how often do intervals hold the truth?
    python benchmarks/comparing.py speed --images=5000    # 100 detections per image, 80 classes
    python benchmarks/comparing.py engines --images=5000  # pycocotools beside faster_coco_eval

The images and the detectors are made up (tests/analysis/made_results.py).
"""

import argparse
import collections
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "analysis"))
import made_results

from keras_maskrcnn import analysis
from keras_maskrcnn.analysis.bootstrap import paired_bootstrap
from keras_maskrcnn.analysis.resampling import Flags
from keras_maskrcnn.evaluation import evaluate_results


def flags_of(truth, results):
    return Flags(analysis.match(results, truth, iou_type="bbox"))


def coverage(repetitions, images, resamples):
    """Draws small data sets from a large one, whose difference of AP is the true one."""
    truth = made_results.make(0, images=5000, classes=2)
    both = [made_results.detect(truth, seed, noise) for seed, noise in ((1, 0.1), (2, 0.095))]
    whole = tuple(flags_of(truth, results) for results in both)
    names = ["bbox/AP", "bbox/AP50", "bbox/APs", "bbox/AP/x"]
    true = paired_bootstrap({"bbox": whole}, ["x", "y"], resamples=1)
    groups = []
    for entries in (truth["annotations"], *both):
        groups.append(collections.defaultdict(list))
        for entry in entries:
            groups[-1][entry["image_id"]].append(entry)
    rng, held, found = np.random.default_rng(5), collections.Counter(), []
    for i in range(repetitions):
        chosen = [truth["images"][k] for k in rng.choice(5000, images, replace=False)]
        objects, *some = ([e for x in chosen for e in group[x["id"]]] for group in groups)
        part = {**truth, "images": chosen, "annotations": objects}
        pair = tuple(flags_of(part, results) for results in some)
        metrics = paired_bootstrap({"bbox": pair}, ["x", "y"], resamples=resamples, seed=i)
        for name in names:
            entry = metrics[name]
            held[name] += entry["low"] <= true[name]["difference"] <= entry["high"]
        found.append(metrics["bbox/AP"]["difference"])
        if (i + 1) % 50 and i + 1 < repetitions:
            continue
        print(f"{i + 1} data sets of {images} images, {resamples} draws each")
        for name in names:
            share = 100 * held[name] / (i + 1)
            print(f"{name:10} true difference {true[name]['difference']:+.4f}, held: {share:.1f} %")
        print(f"bbox/AP: mean {np.mean(found):+.4f}, spread {np.std(found):.4f}", flush=True)


def large(seeds, images):
    truth = made_results.make(0, images=images, classes=80, per_image=7)
    noises = (0.1, 0.09)
    return truth, [
        made_results.detect(truth, s, n, false=93) for s, n in zip(seeds, noises, strict=False)
    ]


def speed(resamples, images):
    truth, both = large((1, 2), images)
    print(f"{len(truth['annotations'])} objects, {[len(r) for r in both]} detections")
    wall, cpu = time.perf_counter(), time.process_time()
    pair = tuple(flags_of(truth, results) for results in both)
    said("matching of both", wall, cpu)
    wall, cpu = time.perf_counter(), time.process_time()
    paired_bootstrap({"bbox": pair}, [str(i) for i in range(80)], resamples=resamples)
    said(f"{resamples} draws", wall, cpu)


def engines(images):
    truth, (results,) = large((1,), images)
    for engine in ("pycocotools", "faster_coco_eval"):
        wall, cpu = time.perf_counter(), time.process_time()
        metrics = evaluate_results(results, truth, iou_types=("bbox",), engine=engine)
        said(f"{engine}: bbox/AP {metrics['bbox/AP']!r}", wall, cpu)


def said(what, wall, cpu):
    now = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {now[0]:.1f} s, {now[1]:.1f} s of CPU", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["coverage", "speed", "engines"])
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--images", type=int, default=150)
    parser.add_argument("--resamples", type=int, default=400)
    given = parser.parse_args()
    if given.what == "coverage":
        coverage(given.repetitions, given.images, given.resamples)
    elif given.what == "speed":
        speed(given.resamples, given.images)
    else:
        engines(given.images)
