"""Does a process forget a training that is over? Memory after each of several.

    python benchmarks/trainings.py --trainings=10
    MALLOC_ARENA_MAX=1 python benchmarks/trainings.py --trainings=10

trains the small preset on colored shapes again and again, each time a new model with new batches,
optimizer and callbacks, deletes all of it, collects garbage, and prints as JSON the resident memory
in MiB, the same once glibc has given back what it holds free (`malloc_trim`), and how many models
and graphs of TensorFlow Python still has.
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
flags.DEFINE_integer("trainings", 10, "Trainings, one after the other.")
flags.DEFINE_integer("steps", 3, "Steps of each.")
flags.DEFINE_integer("image_size", 64, "Shorter side of the images.")


def resident():
    """Resident memory in MiB."""
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20


def train(folder):
    """One training with its validation, and all that commonly hangs on it."""
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
