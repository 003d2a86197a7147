"""Times the input pipeline and, with --peer, torchvision's reference loader.

    python benchmarks/loader.py IMAGES ANNOTATIONS --sides=256,800 --peer=TORCH_PYTHON

Both decode, flip, resize and batch the same images with their masks, as for training, on all cores.
Ours and the peer's run in turn, `--rounds` times. "Per core" means per second of CPU time. It
prints one JSON object per run, and the ratios of the medians.
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
flags.DEFINE_string("peer", "", "A Python with torch and torchvision; empty: only ours.")
PEER = pathlib.Path(__file__).with_name("loader_torchvision.py")


def ours(images, annotations, side, longer):
    """Returns images, seconds and CPU seconds of our pipeline."""
    from keras_maskrcnn import MaskRCNNConfig, data

    dataset = data.coco_json(images, annotations)
    resizing = MaskRCNNConfig(image_min_side=side, image_max_side=longer).resizing()
    batches = data.batches(dataset, FLAGS.batch_size, training=True, repeat=True, **resizing)
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
        if FLAGS.peer:
            (wall, cpu), (peer_wall, peer_cpu) = medians["keras_maskrcnn"], medians["torchvision"]
            print(f"{side} ratio: {wall / peer_wall:.2f}, per core {cpu / peer_cpu:.2f}")


if __name__ == "__main__":
    app.run(main)
