"""Checks that a long run of `fit` stays steady: its traces and memory every 50 steps.

    python benchmarks/steady.py --steps=500
    python benchmarks/steady.py --steps=500 --images=DIR --annotations=JSON

It trains the small preset on a COCO data set (default: colored shapes). It prints, as JSON, how
often the training step was traced, and the resident memory in MiB.
"""

import json
import pathlib
import sys
import tempfile

import keras
from absl import app, flags

import keras_maskrcnn as mrcnn

FLAGS = flags.FLAGS
flags.DEFINE_string("images", "", "Folder of images; empty: colored shapes.")
flags.DEFINE_string("annotations", "", "COCO json of --images.")
flags.DEFINE_integer("steps", 500, "Training steps.")
flags.DEFINE_integer("steps_per_epoch", 50, "Steps per epoch; a line is printed after each epoch.")
flags.DEFINE_integer("image_size", 256, "Shorter side of the images.")


TRACES = []


class Counted(mrcnn.MaskRCNN):
    """Notes each trace of its training step; Python runs the step only when it is traced."""

    def train_step(self, data):
        TRACES.append(1)
        return super().train_step(data)


class Report(keras.callbacks.Callback):
    """Prints the traces and the memory after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Prints a line."""
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        report = {
            "step": int(self.model.optimizer.iterations),
            "traces": len(TRACES),
            "rss_mib": pages * 4096 >> 20,
            "loss": round(logs["loss"], 3),
        }
        print(json.dumps(report), flush=True)


def main(_):
    images, annotations = FLAGS.images, FLAGS.annotations
    if not images:
        sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples"))
        from shapes import make_shapes

        folder = pathlib.Path(tempfile.mkdtemp())
        make_shapes(folder, train=100, val=1, seed=0)
        images, annotations = folder / "train", folder / "annotations/train.json"
    dataset = mrcnn.data.coco_json(images, annotations)
    config = mrcnn.preset_config(
        "mask_rcnn_resnet18_fpn_small",
        num_classes=dataset.num_classes,
        image_min_side=FLAGS.image_size,
        image_max_side=round(FLAGS.image_size * 5 / 3),
    )
    model = Counted(config)
    model.compile(mrcnn.training.Recipe(FLAGS.steps, base_rate=0.08).optimizer())
    batches = mrcnn.data.batches(dataset, 2, training=True, repeat=True, **config.resizing())
    model.fit(
        batches,
        steps_per_epoch=FLAGS.steps_per_epoch,
        epochs=FLAGS.steps // FLAGS.steps_per_epoch,
        callbacks=[Report()],
        verbose=0,
        shuffle=False,
    )


if __name__ == "__main__":
    app.run(main)
