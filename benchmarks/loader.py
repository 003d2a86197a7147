"""Times the input pipeline and, with --peer, torchvision's reference loader.

    python benchmarks/loader.py IMAGES ANNOTATIONS --sides=256,800 --peer=TORCH_PYTHON

With --records, a folder of records of the same images (docs/data_tfds.md), it also times the
pipeline that reads them without Python functions. All decode, flip, resize and batch the same
images with their masks, as for training, on all cores. They run in turn, `--rounds` times. "Per
core" means per second of CPU time. It prints one JSON object per run, and the medians' ratios.
"""

import json
import os
import pathlib
import resource
import statistics
import subprocess
import time

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_list("sides", ["256", "800"], "Shorter sides; the longer is at most 1333/800 of it.")
flags.DEFINE_integer("batch_size", 2, "Images per batch.")
flags.DEFINE_float("seconds", 20, "Seconds to measure.")
flags.DEFINE_integer("rounds", 3, "Measurements of each loader.")
flags.DEFINE_string("records", "", "A folder of records of the same images; empty: none.")
flags.DEFINE_string("peer", "", "A Python with torch and torchvision; empty: only ours.")
PEER = pathlib.Path(__file__).with_name("loader_torchvision.py")


def ours(images, annotations, side, longer):
    """Returns images, seconds and CPU seconds of our pipeline."""
    from keras_maskrcnn import data

    return _timed(data.coco_json(images, annotations), side, longer, repeat=True)


def records(images, annotations, side, longer):
    """Returns the same of our pipeline without Python functions."""
    from keras_maskrcnn import data

    return _timed(data.tfds_dataset(FLAGS.records, "train"), side, longer, steps=100_000)


def _timed(dataset, side, longer, **options):
    from keras_maskrcnn import MaskRCNNConfig, data

    resizing = MaskRCNNConfig(image_min_side=side, image_max_side=longer).resizing()
    batches = data.batches(dataset, FLAGS.batch_size, training=True, **options, **resizing)
    iterator = iter(batches)
    for _ in range(len(dataset) // FLAGS.batch_size):
        next(iterator)
    done, started, cpu = 0, time.perf_counter(), _cpu_seconds()
    while time.perf_counter() - started < FLAGS.seconds:
        next(iterator)
        done += FLAGS.batch_size
    seconds = time.perf_counter() - started
    return {"images": done, "seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu}


def _cpu_seconds():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def peers(images, annotations, side, longer):
    """Returns images, seconds and CPU seconds of torchvision's loader."""
    command = [FLAGS.peer, str(PEER), images, annotations, side, longer]
    command += [FLAGS.batch_size, FLAGS.seconds]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    output = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, check=True
    ).stdout
    return json.loads(output.splitlines()[-1])


def main(argv):
    """Runs all cases."""
    _, images, annotations = argv
    loaders = {"keras_maskrcnn": ours} | ({"torchvision": peers} if FLAGS.peer else {})
    loaders |= {"records": records} if FLAGS.records else {}
    for side in map(int, FLAGS.sides):
        longer, rates = round(side * 1333 / 800), {}
        for _ in range(FLAGS.rounds):
            for name, loader in loaders.items():
                run = loader(images, annotations, side, longer)
                print(json.dumps({"loader": name, "side": side, **run}), flush=True)
                per = run["images"] / run["seconds"], run["images"] / run["cpu_seconds"]
                rates.setdefault(name, []).append(per)
        medians = {
            name: [statistics.median(values) for values in zip(*runs, strict=True)]
            for name, runs in rates.items()
        }
        for name, (wall, cpu) in medians.items():
            print(f"{side} {name}: {wall:.1f} images per second, {cpu:.1f} per CPU second")
        wall, cpu = medians.pop("keras_maskrcnn")
        for name, (peer_wall, peer_cpu) in medians.items():
            line = f"{side} keras_maskrcnn to {name}: {wall / peer_wall:.2f}"
            print(f"{line}, per core {cpu / peer_cpu:.2f}")


if __name__ == "__main__":
    app.run(main)
