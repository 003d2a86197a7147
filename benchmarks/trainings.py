"""Checks that a process frees the memory of finished trainings: memory after each of several.

    python benchmarks/trainings.py --trainings=10
    MALLOC_ARENA_MAX=1 python benchmarks/trainings.py --trainings=10

It trains the small preset on colored shapes several times. Each time the model, batches, optimizer
and callbacks are new. It then deletes all of them and collects garbage. It prints, as JSON, the
resident memory in MiB, the same after glibc has returned its free memory (`malloc_trim`), and how
many models and TensorFlow graphs still exist in Python.
"""

import ctypes
import gc
import json
import pathlib
import sys
import tempfile

import keras
from absl import app, flags
from tensorflow.python.framework.func_graph import FuncGraph

import keras_maskrcnn as mrcnn

FLAGS = flags.FLAGS
flags.DEFINE_integer("trainings", 10, "Number of trainings, one after the other.")
flags.DEFINE_integer("steps", 3, "Steps per training.")
flags.DEFINE_integer("image_size", 64, "Shorter side of the images.")


def resident():
    """Returns the resident memory in MiB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


def train(folder):
    """Runs one training with a validation and the usual callbacks."""
    train_set, val_set = (
        mrcnn.data.coco_json(folder / name, folder / f"annotations/{name}.json")
        for name in ("train", "val")
    )
    model = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=train_set.num_classes,
        image_min_side=FLAGS.image_size,
        image_max_side=round(FLAGS.image_size * 5 / 3),
    )
    model.compile(mrcnn.training.Recipe(FLAGS.steps, base_rate=0.08).optimizer())
    sizes = model.config.resizing()
    batches = mrcnn.data.batches(train_set, 2, training=True, repeat=True, cache=True, **sizes)
    val_batches = mrcnn.data.batches(val_set, 2, training=False, **sizes)
    model.fit(
        batches,
        steps_per_epoch=FLAGS.steps,
        epochs=1,
        verbose=0,
        shuffle=False,
        validation_data=val_batches,
        callbacks=[
            mrcnn.training.Throughput(),
            mrcnn.CocoEvaluation(val_set),
            mrcnn.training.Sentinel("stop", train_set),
        ],
    )


def main(_):
    sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples"))
    from shapes import make_shapes

    folder = pathlib.Path(tempfile.mkdtemp())
    make_shapes(folder, train=20, val=2, seed=0)
    for number in range(1, FLAGS.trainings + 1):
        train(folder)
        gc.collect()
        report = {"training": number, "rss_mib": resident()}
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        report["trimmed_mib"] = resident()
        kinds = {"models": keras.Model, "graphs": FuncGraph}
        objects = gc.get_objects()
        report |= {name: sum(isinstance(x, kind) for x in objects) for name, kind in kinds.items()}
        report["objects"] = len(objects)
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    app.run(main)
