"""Times batches through a tf.data service of 1, 2, ... worker processes on this machine.

    python benchmarks/loader_service.py RECORDS --workers=1,2 --side=256

RECORDS is a folder of records (docs/data_tfds.md). It prints images per second, and CPU seconds per
image of the workers and of the process that takes the batches.
"""

import os
import pathlib
import subprocess
import sys
import time

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from absl import app, flags  # noqa: E402

FLAGS = flags.FLAGS
flags.DEFINE_list("workers", ["1", "2"], "Numbers of worker processes.")
flags.DEFINE_integer("side", 256, "Shorter side; the longer is at most 1333/800 of it.")
flags.DEFINE_integer("batch_size", 2, "Images per batch.")
flags.DEFINE_integer("batches", 100, "Batches to measure.")
SERVER = pathlib.Path(__file__).parents[1] / "examples" / "data_service.py"


def main(argv):
    """Measures each number of workers."""
    from keras_maskrcnn import MaskRCNNConfig, data

    dataset = data.tfds_dataset(argv[1], "train")
    longer = round(FLAGS.side * 1333 / 800)
    resizing = MaskRCNNConfig(image_min_side=FLAGS.side, image_max_side=longer).resizing()
    batches = data.batches(dataset, FLAGS.batch_size, training=True, steps=100_000, **resizing)
    for count in map(int, FLAGS.workers):
        processes = []
        try:
            line = _start(processes, "--port=0")
            address = line.removeprefix("dispatcher at grpc://")
            for _ in range(count):
                _start(processes, f"--dispatcher={address}", "--host=localhost")
            iterator = iter(data.through_service(batches, address))
            for _ in range(20):
                next(iterator)
            began, own, theirs = time.perf_counter(), time.process_time(), _seconds(processes)
            for _ in range(FLAGS.batches):
                next(iterator)
            images = FLAGS.batches * FLAGS.batch_size
            wall = time.perf_counter() - began
            work = (_seconds(processes) - theirs) / images * 1000
            taken = (time.process_time() - own) / images * 1000
            print(f"{count} workers: {images / wall:.1f} images per second;", end=" ")
            print(f"CPU ms per image: workers {work:.1f}, here {taken:.1f}", flush=True)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _start(processes, *arguments):
    """Starts a server, and returns the line that it prints."""
    command = [sys.executable, str(SERVER), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    processes.append(process)
    return process.stdout.readline().strip()


def _seconds(processes):
    """Returns the CPU seconds of all processes together."""
    total = 0.0
    for process in processes:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    app.run(main)
