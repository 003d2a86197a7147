"""Measures AP, time and size of a SavedModel in float32, bfloat16 and int8.

    python benchmarks/precision.py --model=model.keras --images=DIR --annotations=JSON

The model is exported and loaded in each precision, and gets one image per request, as on a server.
The first `--warmup` requests of each precision are not timed. All precisions run on an image before
the next image comes, so that other work on the machine affects all in the same way.
"""

import pathlib
import statistics
import tempfile
import time

import keras
import tensorflow as tf
from absl import app, flags

from keras_maskrcnn import data
from keras_maskrcnn.detections import coco_results
from keras_maskrcnn.evaluation import evaluate_results
from keras_maskrcnn.export.optimize import PRECISIONS

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A .keras file.", required=True)
flags.DEFINE_string("images", None, "Folder of images.", required=True)
flags.DEFINE_string("annotations", None, "COCO json of --images.", required=True)
flags.DEFINE_list("precisions", list(PRECISIONS), "Precisions to compare.")
flags.DEFINE_integer("max_images", 0, "Number of images to run on, from the first; 0: all.")
flags.DEFINE_integer("max_detections", 100, "Detections per image that count.")
flags.DEFINE_integer("warmup", 5, "Requests that are not timed.")


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
    results, seconds, sizes, serve, keep = {}, {}, {}, {}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in FLAGS.precisions:
            path = pathlib.Path(folder) / name
            model.export(path, precision=name, verbose=False)
            sizes[name] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            keep.append(tf.saved_model.load(path))  # its functions do not keep its variables alive
            serve[name] = keep[-1].signatures["serve_image_bytes"]
            results[name], seconds[name] = [], []
        for index, image_id in enumerate(dataset.image_ids[:count]):
            path = pathlib.Path(dataset.images) / dataset.file_names[index]
            encoded = tf.constant([path.read_bytes()])
            height, width = (int(side) for side in dataset.sizes[index])
            for name in FLAGS.precisions:
                start = time.perf_counter()
                found = serve[name](image_bytes=encoded)
                found = {key: value.numpy() for key, value in found.items()}
                seconds[name].append(time.perf_counter() - start)
                results[name] += coco_results(
                    found, 0, image_id, height, width, category_ids, config.mask_paste
                )
    kinds = ("bbox", "segm") if config.task == "masks" else ("bbox",)
    aps = [f"{kind}/{number}" for kind in kinds for number in ("AP", "AP50")]
    print(f"{count} images, {FLAGS.model}")
    print("| precision |", " | ".join(aps), "| ms per image, median | MB |")
    print("| --- |", "--- | " * (len(aps) + 2))
    for name in FLAGS.precisions:
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
