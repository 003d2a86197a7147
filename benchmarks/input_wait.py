"""Measures the share of training time that is spent waiting for images.

    python benchmarks/input_wait.py IMAGES ANNOTATIONS [--preset=NAME] [--image_size=256]

It trains with `model.train_step` in a loop and times `next` on the batches, after ten steps that
are not counted. The pipeline works ahead on the same cores and slows the steps. This is measured
too: the same batches run again without a pipeline. It prints a JSON object.
"""

import json
import time

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("preset", "mask_rcnn_resnet18_fpn_small", "Preset of the model.")
flags.DEFINE_integer("image_size", 256, "Shorter side of the images in pixels.")
flags.DEFINE_integer("batch_size", 2, "Images per step.")
flags.DEFINE_integer("steps", 60, "Steps that are counted.")
WARMUP = 10


def main(argv):
    """Trains, and prints the shares."""
    import tensorflow as tf

    import keras_maskrcnn as mrcnn

    dataset = mrcnn.data.coco_json(argv[1], argv[2])
    longer = round(FLAGS.image_size * 1333 / 800)
    model = mrcnn.MaskRCNN.from_preset(
        FLAGS.preset,
        num_classes=dataset.num_classes,
        image_min_side=FLAGS.image_size,
        image_max_side=longer,
    )
    model.compile(mrcnn.training.Recipe(1000, FLAGS.batch_size).optimizer())
    batches = mrcnn.data.batches(
        dataset, FLAGS.batch_size, training=True, repeat=True, **model.config.resizing()
    )
    step = tf.function(model.train_step, input_signature=[batches.element_spec])
    iterator, waiting, started, seen = iter(batches), 0.0, 0.0, []
    for i in range(WARMUP + FLAGS.steps):
        if i == WARMUP:
            waiting, started = 0.0, time.perf_counter()
        before = time.perf_counter()
        batch = next(iterator)
        waiting += time.perf_counter() - before
        float(step(batch)["loss"])
        if i >= WARMUP:
            seen.append(batch)
    total = time.perf_counter() - started
    del iterator
    started = time.perf_counter()
    for batch in seen:
        float(step(batch)["loss"])
    alone = time.perf_counter() - started
    result = {"seconds_a_step": total / FLAGS.steps, "waiting": waiting / total}
    print(json.dumps(result | {"pipeline_beside_it": 1 - alone / total}))


if __name__ == "__main__":
    app.run(main)
