"""Works with a data set of COCO's size: CPU seconds, seconds and peak memory of each step.

    python benchmarks/coco_work.py [--images=118287] [--converted=6000] [--index=1000000]

The json is that of coco_size.py. The images are 64 JPEG files of 640 x 480, each with many names.
Each step runs in a process of its own and opens the json again:

- validate: `doctor.examine` with all annotations, all headers, and 1,000 decoded images;
- first batch: from the opened set to the first batch for training, and then images per second;
- convert: a json of `--converted` images becomes records. It is killed in the middle and resumed.

`--index` is a json of that many images with one object each. It is opened without its files, and
one epoch of it is shuffled as `data.batches` does.
"""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from absl import app, flags
from coco_size import write_json
from PIL import Image

FLAGS = flags.FLAGS  # coco_size.py defines --images, --annotations and --folder
flags.DEFINE_integer("converted", 6_000, "Images to convert to records.")
flags.DEFINE_integer("index", 1_000_000, "Images of the json that is only opened.")
flags.DEFINE_list("steps", ["validate", "batch", "index", "convert"], "What to run.")

BEGIN = """
import resource, sys, time
import keras_maskrcnn as mrcnn
from keras_maskrcnn import doctor
from keras_maskrcnn.data import tfds_coco
import tensorflow_datasets as tfds
folder, path = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
def lap(text):
    global began, cpu
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"MEASURED {text}: {used:.1f} CPU s, {wall:.1f} s, peak {peak:.0f} MiB", flush=True)
    began, cpu = time.perf_counter(), time.process_time()
lap("imports")
began, cpu = time.perf_counter(), time.process_time()
"""
OPEN = """
dataset = mrcnn.data.coco_json(folder, path, check_images=False)
lap(f"opened {len(dataset)} images, {len(dataset.labels)} instances")
"""
STEPS = {
    "validate": """
_, report = doctor.examine(folder, path, sample=1000)
lap(f"validate, {report['decoded_images']} decoded, {report['severities']}")
""",
    "batch": OPEN
    + """
resizing = mrcnn.MaskRCNNConfig().resizing()
batches = iter(mrcnn.data.batches(dataset, 2, training=True, repeat=True, **resizing))
next(batches)
lap("first batch")
for _ in range(100):
    next(batches)
lap("200 images in batches of 2, shorter side 800")
""",
    "index": OPEN
    + """
import numpy as np
from keras_maskrcnn.data.order import aspect_groups, epoch_order
groups = aspect_groups(dataset.sizes)
order = epoch_order(len(dataset), 16, groups=groups, rng=np.random.default_rng(0))
lap(f"shuffled {len(order)} images, {(order.nbytes + groups.nbytes) / 2**20:.0f} MiB of indices")
""",
    "convert": """
config = tfds_coco.CocoConfig(name="coco", splits={"train": (folder, path)})
builder = tfds.builder("coco_instances", config=config, data_dir=path + ".records")
builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=24))
records = mrcnn.data.tfds_dataset(builder.data_path, "train")
lap(f"converted {len(records)} images, {len(records.labels)} instances")
""",
}


def write_images(folder, count):
    """Writes 64 JPEG files, and gives them `count` names."""
    rng, sources = np.random.default_rng(0), []
    for i in range(64):
        sources.append(folder.parent / f"source{i}.jpg")
        pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(sources[-1])
    for i in range(count):
        os.link(sources[i % 64], folder / f"{i:012d}.jpg")


def run(step, folder, path, kill_after=None):
    """Runs a step in another process, and prints what it measures. Returns whether it ended."""
    program = [sys.executable, "-c", BEGIN + STEPS[step], str(folder), str(path)]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    for line in process.stdout:
        if line.startswith("MEASURED") and "imports" not in line:
            print(f"{step}: {line.removeprefix('MEASURED ').strip()}", flush=True)
    return process.wait() == 0


def main(_):
    with tempfile.TemporaryDirectory() as temporary:
        base = pathlib.Path(FLAGS.folder or temporary)
        images = base / "images"
        if not images.exists():
            images.mkdir(parents=True)
            write_images(images, FLAGS.images)
        sizes = {step: (FLAGS.images, FLAGS.annotations) for step in FLAGS.steps}
        sizes["index"] = (FLAGS.index, FLAGS.index)
        sizes["convert"] = (FLAGS.converted, round(FLAGS.converted * 7.27))
        for step in FLAGS.steps:
            path = base / "{}_{}.json".format(*sizes[step])
            if not path.exists():
                write_json(path, *sizes[step])
            if step == "convert":
                run(step, images, path, kill_after=120)
                shards = list(pathlib.Path(f"{path}.records").rglob("*.tfrecord*"))
                print(f"killed after 120 s: {len(shards)} files of records", flush=True)
            if not run(step, images, path):
                raise SystemExit(f"{step} failed.")


if __name__ == "__main__":
    app.run(main)
