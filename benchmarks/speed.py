"""Times inference and one training step of ResNet-50-FPN and, with --peer, of torchvision's.

    python benchmarks/speed.py infer:800x1088:1 train:512x512:2:bfloat16 \\
        --peer "TORCH_PYTHON ../shared/peerlab/tv_bench.py" --output=speed.jsonl

A case is MODE:HEIGHTxWIDTH:BATCH, with :bfloat16 for that precision (the peer uses autocast). The
modes are `infer` (`predict_image`), `saved` (the exported SavedModel, which pastes masks in its
graph) and `train`. Each case runs in a separate process, so that its peak memory is its own. Ours
and the peer's run in turn, `--rounds` times. Both get images of exactly the given size and 1000
proposals. Inference includes resizing and the pasting of masks. A training step has 8 instances and
512 RoIs per image, frozen batch norm, and a frozen stem and res2. It prints one JSON object per
run, and the ratios.
"""

import gc
import json
import multiprocessing
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("peer", "", "Command of peerlab's tv_bench.py; empty: only ours.")
flags.DEFINE_string("preset", "mask_rcnn_resnet50_fpn", "Preset whose network is timed.")
flags.DEFINE_integer("rounds", 1, "Runs of each case, ours and the peer's in turn.")
flags.DEFINE_integer("warmup", 2, "Calls that are not counted.")
flags.DEFINE_integer("repeats", 7, "Calls that are counted.")
flags.DEFINE_string("output", "", "File to append the JSON objects to.")
flags.DEFINE_bool("inner", False, "Run one case in this process.")
flags.register_validator("rounds", lambda value: value > 0, "must be positive")

# The settings of peerlab's --keep-memory. Without them glibc returns freed memory after every
# operator, and the zeroing of new pages takes a quarter of the time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def calibrated_model(
    image, side, longer, dtype="float32", preset="mask_rcnn_resnet50_fpn", **fields
):
    """Makes a model with random weights that behaves like a trained one.

    Its features are moderate and its scores are clear. With the initial weights, scores would
    hardly differ, and no box would reach the second stage's NMS. `fields` are the config fields
    that differ from the preset's.
    """
    import keras
    import numpy as np

    import keras_maskrcnn as mrcnn

    keras.utils.set_random_seed(0)
    # The image is small, so that calibration does not set the peak of memory.
    keep = dict(num_classes=90, image_min_side=side, image_max_side=longer) | fields
    model = mrcnn.MaskRCNN.from_preset(preset, norm="batch", **keep)
    canvas = {"images": image[None, :128, :128], "sizes": np.int32([[128, 128]])}
    for _ in range(60):  # each call moves the statistics by a tenth
        features = model.features(canvas, training=True)
    weights = model.get_weights()
    del model, features
    gc.collect()  # a Keras model refers to itself, so only this frees it
    model = mrcnn.MaskRCNN.from_preset(preset, **keep, dtype=dtype)
    model.set_weights(weights)
    del weights
    features = model.features(canvas)
    rois, _ = model.rpn.select(model.rpn(features), canvas["sizes"])
    logits, *_ = model.roi_heads.box_branch(features, rois)
    for layer in model.box_head.layers:
        if layer.weights and layer.weights[0].shape[-1] == logits.shape[-1]:
            kernel = layer.weights[0]
            kernel.assign(kernel * 3.0 / float(logits.numpy().astype("float32").std()))
    return model


def scene(height, width, seed, instances=8):
    """Draws rectangles on noise; returns image, boxes, labels and masks as in `data.batches`."""
    import numpy as np

    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, (height, width, 3)).astype(np.uint8)
    side = min(height, width) * np.linspace(0.12, 0.6, instances)[:, None]
    corner = rng.uniform(0, 1, (instances, 2)) * ([width, height] - side)
    boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    for x1, y1, x2, y2 in boxes[::-1].astype(int):
        image[y1:y2, x1:x2] = rng.integers(0, 255, 3)
    labels = rng.integers(1, 90, instances).astype(np.int32)
    return image, boxes, labels, np.full((instances, 112, 112), 255, np.uint8)


def run(case):
    """Runs one case, and returns a dict with the fields of tv_bench.py's result."""
    import keras
    import numpy as np
    import tensorflow as tf

    import keras_maskrcnn as mrcnn

    mode, size, batch, *precision = case.split(":")
    height, width = map(int, size.split("x"))
    images, boxes, labels, masks = map(
        np.stack, zip(*(scene(height, width, i) for i in range(int(batch))), strict=True)
    )
    dtype = "mixed_bfloat16" if precision else "float32"
    with tempfile.TemporaryDirectory() as folder:
        # Calibrate in another process, so that its memory does not count for the case.
        path = f"{folder}/1" + (".keras" if mode != "saved" else "")
        arguments = path, images[0], min(height, width), max(height, width), dtype, FLAGS.preset
        process = multiprocessing.get_context("spawn").Process(target=_prepare, args=arguments)
        process.start()
        process.join()
        model = (tf.saved_model.load if mode == "saved" else keras.models.load_model)(path)
    result = {"case": case, "model": FLAGS.preset, "tensorflow": tf.__version__}
    if mode == "infer":

        def call():
            found = [mrcnn.predict_image(model, image) for image in images]
            result["detections"] = [len(one["scores"]) for one in found]
    elif mode == "saved":
        serve = model.signatures["serving_default"]

        def call():
            found = serve(tf.constant(images))
            result["detections"] = found["num_detections"].numpy().tolist()
    else:
        sizes = np.tile(np.int32([[height, width]]), (int(batch), 1))
        inputs = {"images": images.astype(np.float32), "sizes": sizes, "original_sizes": sizes}
        gt = {"boxes": boxes, "labels": labels, "masks": masks}
        model.compile(mrcnn.training.sgd(1e-5, warmup_steps=0))
        model.make_train_function()
        step = tf.function(model.train_step)
        data = tf.nest.map_structure(tf.constant, (inputs, gt))

        def call():
            result["loss"] = float(step(data)["loss"])
            result["instances"] = [boxes.shape[1]] * int(batch)

    result["loaded_rss_mib"] = _peak_mib()
    wall, cpu = [], []
    for _ in range(FLAGS.warmup + FLAGS.repeats):
        start, used = time.perf_counter(), time.process_time()
        call()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - used) * 1e3)
    if not np.isfinite(result.get("loss", 0.0)):
        raise SystemExit("the loss is not finite")
    result["first_call_ms"] = round(wall[0], 1)
    result["total_ms"] = _summary(wall[FLAGS.warmup :])
    result["cpu_ms"] = _summary(cpu[FLAGS.warmup :])
    result["peak_rss_mib"] = _peak_mib()
    return result


def _peak_mib():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _prepare(path, *arguments):
    model = calibrated_model(*arguments)
    if path.endswith(".keras"):
        model.save(path)
    else:
        model.export(path, masks="binary", verbose=False)


def _summary(values):
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 1) for name, value in found.items()} | {"n": len(values)}


def _start(command):
    """Runs a command, and returns the JSON object in its output."""
    env = {**os.environ, **KEEP_MEMORY, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
    found = [line[line.index("{") :] for line in done.stdout.splitlines() if '"case"' in line]
    if not found:
        raise SystemExit(f"no result from {shlex.join(command)} (exit status {done.returncode})")
    result = json.loads(found[-1])
    print(json.dumps(result), flush=True)
    if FLAGS.output:
        with open(FLAGS.output, "a") as file:
            file.write(json.dumps(result) + "\n")
    return result


def main(args):
    cases = args[1:] or ["infer:800x1088:1", "train:512x512:2"]
    if FLAGS.inner:
        print(json.dumps(run(cases[0])))
        return
    counts = [f"--warmup={FLAGS.warmup}", f"--repeats={FLAGS.repeats}"]
    ours = [*counts, f"--preset={FLAGS.preset}"]
    for case in cases:
        commands = {"ours": [sys.executable, __file__, case, "--inner", *ours]}
        if FLAGS.peer:
            mode, size, batch, *precision = case.replace("saved", "infer").split(":")
            options = ["--keep-memory", *counts, *(["--bfloat16"] if precision else [])]
            commands["peer"] = [*shlex.split(FLAGS.peer), f"{mode}:{size}:{batch}", *options]
        results = {name: [] for name in commands}
        for _ in range(FLAGS.rounds):
            for name, command in commands.items():
                results[name].append(_start(command))
        if FLAGS.peer:
            for name, read in (
                ("time", lambda one: one["total_ms"]["median"]),
                ("CPU time", lambda one: one["cpu_ms"]["median"]),
                ("peak memory", lambda one: one["peak_rss_mib"]),
            ):
                ours, peer = (statistics.median(map(read, results[k])) for k in ("ours", "peer"))
                print(f"{case} {name}: {ours:.0f} / {peer:.0f} = {ours / peer:.2f}", flush=True)


if __name__ == "__main__":
    app.run(main)
