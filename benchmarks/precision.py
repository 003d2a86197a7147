"""Measures AP, time and size of a SavedModel in float32, bfloat16 and int8, or of LiteRT files.

    python benchmarks/precision.py --model=model.keras --images=DIR --annotations=JSON

With --format=litert the precisions are float32, float16 and int8. Images are resized as the model
does, and padded to a square of image_max_side; only the interpreter is timed.

The model is exported and loaded in each precision, and gets one image per request, as on a server.
The first `--warmup` requests of each precision are not timed. All precisions run on an image before
the next image comes, so that other work on the machine affects all in the same way.
"""

import pathlib
import statistics
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from keras_maskrcnn import data
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.evaluation import evaluate_results
from keras_maskrcnn.export import litert, optimize

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A .keras file.", required=True)
flags.DEFINE_string("images", None, "Folder of images.", required=True)
flags.DEFINE_string("annotations", None, "COCO json of --images.", required=True)
flags.DEFINE_enum("format", "tf_saved_model", ["tf_saved_model", "litert"], "Format to export.")
flags.DEFINE_list("precisions", None, "Precisions to compare. Default: those of the format.")
flags.DEFINE_integer("threads", 2, "Threads of LiteRT.")
flags.DEFINE_integer("max_images", 0, "Number of images to run on, from the first; 0: all.")
flags.DEFINE_integer("max_detections", 100, "Detections per image that count.")
flags.DEFINE_integer("warmup", 5, "Requests that are not timed.")


def load_saved_model(model, path, precision):
    """Returns a function from a file's bytes to (outputs, seconds), and the size in bytes."""
    model.export(path, precision=precision, verbose=False)
    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serve_image_bytes"]

    def call(encoded, loaded=loaded):  # the function does not keep its variables alive
        start = time.perf_counter()
        found = serve(image_bytes=tf.constant([encoded]))
        found = {key: value.numpy() for key, value in found.items()}
        return found, time.perf_counter() - start

    return call, sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def load_litert(model, path, precision):
    """As `load_saved_model`, for a LiteRT file."""
    side = -(-model.config.image_max_side // model.config.padding_multiple)
    side *= model.config.padding_multiple
    model.export(path, "litert", image_size=(side, side), precision=precision, verbose=False)
    run = tf.lite.Interpreter(str(path), num_threads=FLAGS.threads).get_signature_runner()

    def call(encoded):
        batch = model.prepare(tf.io.decode_image(encoded, 3, expand_animations=False)[None])
        images, sizes = batch["images"].numpy(), batch["sizes"].numpy()
        rows, columns = side - images.shape[1], side - images.shape[2]
        images = np.pad(images, [(0, 0), (0, rows), (0, columns), (0, 0)])
        start = time.perf_counter()
        found = run(images=images, sizes=sizes)
        seconds = time.perf_counter() - start
        scale = batch["original_sizes"].numpy() / sizes
        return {**found, "boxes": found["boxes"] * np.tile(scale[:, None, ::-1], 2)}, seconds

    return call, path.stat().st_size


def main(_):
    """Prints a row for each precision."""
    model = keras.models.load_model(FLAGS.model)
    if model.config.detections_per_image < FLAGS.max_detections:
        model = model.with_config(detections_per_image=FLAGS.max_detections)
    config = model.config
    dataset = data.coco_json(
        FLAGS.images, FLAGS.annotations, category_ids=config.category_ids or None
    )
    category_ids = config.category_ids or dataset.category_ids
    count = FLAGS.max_images or len(dataset.image_ids)
    known = litert.PRECISIONS if FLAGS.format == "litert" else optimize.PRECISIONS
    precisions = FLAGS.precisions or known
    results, seconds, sizes, serve = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in precisions:
            load = load_litert if FLAGS.format == "litert" else load_saved_model
            serve[name], sizes[name] = load(model, pathlib.Path(folder) / f"{name}.tflite", name)
            results[name], seconds[name] = [], []
        for index, image_id in enumerate(dataset.image_ids[:count]):
            path = pathlib.Path(dataset.images) / dataset.file_names[index]
            encoded = path.read_bytes()
            height, width = (int(side) for side in dataset.sizes[index])
            for name in precisions:
                found, took = serve[name](encoded)
                seconds[name].append(took)
                results[name] += coco_results(
                    found, 0, image_id, height, width, category_ids, config.mask_paste
                )
    kinds = ("bbox", "segm") if config.task == "masks" else ("bbox",)
    aps = [f"{kind}/{number}" for kind in kinds for number in ("AP", "AP50")]
    print(f"{count} images, {FLAGS.model}")
    print("| precision |", " | ".join(aps), "| ms per image, median | MB |")
    print("| --- |", "--- | " * (len(aps) + 2))
    for name in precisions:
        metrics = evaluate_results(
            results[name],
            dataset.annotations,
            max_detections=FLAGS.max_detections,
            iou_types=kinds,
            image_ids=dataset.image_ids[:count],
            category_ids=category_ids,
        )
        cells = [f"{metrics[ap]:.4f}" for ap in aps]
        median = 1000 * statistics.median(seconds[name][FLAGS.warmup :])
        print(f"| {name} |", " | ".join(cells), f"| {median:.0f} | {sizes[name] / 1e6:.1f} |")


if __name__ == "__main__":
    app.run(main)
