"""Measures AP, time and size of a model's exports in each format and precision.

    python benchmarks/precision.py --model=model.keras --images=DIR --annotations=JSON \\
        --calibration=DIR_OF_OTHER_IMAGES

The first row is `evaluate` of the model itself. Each export gets one image per request, as on a
server. All of them run on an image before the next image comes, so that other work on the machine
affects all in the same way. The first `--warmup` requests are not timed. ONNX and OpenVINO need
their extras, see docs/runtimes.md.

For LiteRT, images are resized as the model does, and padded to a square of image_max_side.
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
from keras_maskrcnn.evaluation import evaluate, evaluate_results
from keras_maskrcnn.runtime import ExportedModel

FILES = {
    "tf_saved_model": "saved_model",
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "litert": "model.tflite",
}
ROWS = (
    "tf_saved_model-float32",
    "tf_saved_model-bfloat16",
    "tf_saved_model-int8",
    "onnx-float32",
    "onnx-int8",
    "openvino-float32",
    "openvino-bfloat16",
    "openvino-int8",
)

FLAGS = flags.FLAGS
flags.DEFINE_string("model", None, "A .keras file.", required=True)
flags.DEFINE_string("images", None, "Folder of images.", required=True)
flags.DEFINE_string("annotations", None, "COCO json of --images.", required=True)
flags.DEFINE_string("calibration", None, "Folder of other images; int8 of onnx and openvino.")
flags.DEFINE_integer("calibration_images", 100, "The most images to take from --calibration.")
flags.DEFINE_list(
    "rows",
    list(ROWS),
    "Exports to compare, as FORMAT-PRECISION; also litert-float32, litert-float16, litert-int8.",
)
flags.DEFINE_integer("image_min_side", 0, "Shorter side of the images; 0: the model's.")
flags.DEFINE_integer("image_max_side", 0, "Limit of the longer side; 0: the model's.")
flags.DEFINE_integer("max_images", 0, "Number of images to run on, from the first; 0: all.")
flags.DEFINE_integer("max_detections", 100, "Detections per image that count.")
flags.DEFINE_integer("threads", 1, "Threads of each runtime.")
flags.DEFINE_integer("warmup", 5, "Requests that are not timed.")
flags.DEFINE_string("folder", None, "Keeps the exports here, and takes those that it has.")


def main(_):
    """Prints a row for each export."""
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)  # before any operation
    tf.config.threading.set_inter_op_parallelism_threads(FLAGS.threads)
    keras.config.disable_interactive_logging()
    model = load()
    config = model.config
    dataset = data.coco_json(
        FLAGS.images, FLAGS.annotations, category_ids=config.category_ids or None
    )
    count = FLAGS.max_images or len(dataset.image_ids)
    kinds = ("bbox", "segm") if config.task == "masks" else ("bbox",)
    aps = [f"{kind}/{number}" for kind in kinds for number in ("AP", "AP50", "AP75")]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: export(model, name, FLAGS.folder or folder) for name in FLAGS.rows}
        sizes = {name: size_of(path) for name, path in paths.items()}
        exported = {name: open_export(model, name, path) for name, path in paths.items()}
        results, seconds = run(exported, dataset, count)
    print(f"{count} images, {FLAGS.model}, {FLAGS.threads} threads")
    print("| export |", " | ".join(aps), "| CPU ms per image | ms, median | MB |")
    print("| --- |", "--- | " * (len(aps) + 3))
    if count == len(dataset.image_ids):
        metrics = evaluate(model, dataset, max_detections=FLAGS.max_detections, verbose=0)
        print("| evaluate |", " | ".join(f"{metrics[ap]:.4f}" for ap in aps), "| | | |")
    for name in FLAGS.rows:
        metrics = evaluate_results(
            results[name],
            dataset.annotations,
            max_detections=FLAGS.max_detections,
            iou_types=kinds,
            image_ids=dataset.image_ids[:count],
            category_ids=config.category_ids or dataset.category_ids,
        )
        wall, cpu = (
            1000 * statistics.median(times)
            for times in zip(*seconds[name][FLAGS.warmup :], strict=True)
        )
        cells = [*(f"{metrics[ap]:.4f}" for ap in aps), f"{cpu:.0f}", f"{wall:.0f}"]
        print(f"| {name} |", " | ".join(cells), f"| {sizes[name] / 1e6:.1f} |")


def load():
    """Loads the model, with the sizes and the number of detections of the flags."""
    model = keras.models.load_model(FLAGS.model, compile=False)
    sides = {side: getattr(FLAGS, side) for side in ("image_min_side", "image_max_side")}
    overrides = {name: value for name, value in sides.items() if value}
    overrides["detections_per_image"] = max(model.config.detections_per_image, FLAGS.max_detections)
    return model.with_config(**overrides)


def export(model, name, folder):
    """Writes an export, unless there is one, and returns its path."""
    kind, precision = name.rsplit("-", 1)
    path = pathlib.Path(folder) / precision / FILES[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        options = {"precision": precision, "verbose": False}
        if kind == "litert":
            options["image_size"] = (canvas_of(model.config),) * 2
        elif precision == "int8" and kind != "tf_saved_model":
            options["calibration"] = FLAGS.calibration
            options["calibration_images"] = FLAGS.calibration_images
        start = time.process_time()
        model.export(path, kind, **options)
        print(f"{name}: exported in {time.process_time() - start:.0f} CPU s", flush=True)
    return path


def open_export(model, name, path):
    """Loads an export with the number of threads of the flags."""
    if "litert" in name:
        return LiteRT(model, path)
    return ExportedModel(path, threads=None if "saved_model" in name else FLAGS.threads)


def canvas_of(config):
    """Returns the side of the square that every resized image fits in."""
    return -(-config.image_max_side // config.padding_multiple) * config.padding_multiple


class LiteRT:
    """Does what `ExportedModel` does, for a LiteRT file, which is for images of one size."""

    def __init__(self, model, path):
        self.config, self._model = model.config, model
        interpreter = tf.lite.Interpreter(str(path), num_threads=FLAGS.threads)
        self._run = interpreter.get_signature_runner()

    def predict_on_batch(self, images):
        """Returns the outputs for images (B, H, W, 3) uint8."""
        batch = self._model.prepare(images)
        images, sizes = batch["images"].numpy(), batch["sizes"].numpy()
        rows, columns = (canvas_of(self.config) - side for side in images.shape[1:3])
        images = np.pad(images, [(0, 0), (0, rows), (0, columns), (0, 0)])
        found = self._run(images=images, sizes=sizes)
        scale = batch["original_sizes"].numpy() / sizes
        return {**found, "boxes": found["boxes"] * np.tile(scale[:, None, ::-1], 2)}


def size_of(path):
    """Returns the bytes of a file, with those of the weights beside an .xml, or of a folder."""
    found = path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.stem}.*")
    same = (".xml", ".bin") if path.suffix == ".xml" else () if path.is_dir() else (path.suffix,)
    return sum(f.stat().st_size for f in found if f.is_file() and (not same or f.suffix in same))


def run(exported, dataset, count):
    """Returns the COCO results of each export, and its (wall, CPU) seconds for each image."""
    results, seconds = {name: [] for name in exported}, {name: [] for name in exported}
    for index, image_id in enumerate(dataset.image_ids[:count]):
        image = dataset.load_image(index)
        height, width = image.shape[:2]
        for name, model in exported.items():
            start = time.perf_counter(), time.process_time()
            found = model.predict_on_batch(image[None])
            end = time.perf_counter(), time.process_time()
            seconds[name].append((end[0] - start[0], end[1] - start[1]))
            category_ids = model.config.category_ids or dataset.category_ids
            results[name] += coco_results(
                found, 0, image_id, height, width, category_ids, model.config.mask_paste
            )
    return results, seconds


if __name__ == "__main__":
    app.run(main)
