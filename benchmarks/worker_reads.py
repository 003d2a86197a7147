"""Counts the files that each of 1, 2, 4 workers opens in an epoch, and the bytes it reads.

    python benchmarks/worker_reads.py IMAGES ANNOTATIONS --workers=1,2,4 --batch_size=4

The workers are not started: this process reads the share of one after the other, as `fit` and
`evaluate` of each worker with one device read it, and trains nothing. "whole" is a worker that
reads whole batches. It prints one line per worker: files, MB and CPU seconds in an epoch of
training and in an evaluation.
"""

import collections
import os
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_list("workers", ["1", "2", "4"], "Numbers of workers.")
flags.DEFINE_integer("batch_size", 4, "Images per batch of all workers together.")
flags.DEFINE_integer("side", 256, "Shorter side; the longer is at most 1333/800 of it.")
OPENED = []


def note_open(event, arguments):
    """An audit hook: Python calls it for every file that it opens."""
    if event == "open":
        OPENED.append(str(arguments[0]))


def main(argv):
    """Reads an epoch and an evaluation as each worker does."""
    from keras_maskrcnn import MaskRCNNConfig, data

    dataset = data.coco_json(argv[1], argv[2])
    longer = round(FLAGS.side * 1333 / 800)
    resizing = MaskRCNNConfig(image_min_side=FLAGS.side, image_max_side=longer).resizing()
    sys.addaudithook(note_open)
    print(f"{len(dataset)} images; files, MB, CPU seconds of training; of evaluation")

    def read(name, choose):
        found = [name]
        for options in ({"training": True}, {"training": False, "targets": False}):
            batches = data.batches(dataset, FLAGS.batch_size, **options, **resizing)
            found.append(_read(choose(batches), argv[1]))
        print("; ".join(found), flush=True)

    read("whole", lambda batches: batches)
    for count in map(int, FLAGS.workers):
        # `distribution.replicas.rows_of_worker` divides a batch like this.
        for index, rows in enumerate(np.array_split(np.arange(FLAGS.batch_size), count)):
            name = f"worker {index + 1} of {count}"
            read(name, lambda batches, rows=rows: data.origin.assembly_of(batches).share([rows]))


def _read(batches, folder):
    """Reads all batches; returns the number of images opened, their MB, and CPU seconds."""
    OPENED.clear()
    began = time.process_time()
    for _ in batches:
        pass
    seconds = time.process_time() - began
    folder = os.path.abspath(folder) + os.sep
    counts = collections.Counter(map(os.path.abspath, OPENED))
    counts = {path: count for path, count in counts.items() if path.startswith(folder)}
    read = sum(count * os.path.getsize(path) for path, count in counts.items())
    return f"{sum(counts.values())}, {read / 1e6:.2f}, {seconds:.1f}"


if __name__ == "__main__":
    app.run(main)
