"""Compares the time of inference with the time of its multiplications alone, by operation.

    python benchmarks/floor.py [--size=800x1088] [--repeats=5]

The model is ResNet-50-FPN with one image of exactly that size, 1000 proposals and 100 detections.
It runs as an exported SavedModel in a session, as in TensorFlow Serving. The script counts the
multiply-adds of all convolutions and matrix products. It measures the rate of a large float32
matrix product on this machine now. It prints their quotient (the floor), the time of a request,
and the time of each kind of operation. On several cores operations overlap, so these times add up
to more than the request. With TF_NUM_INTEROP_THREADS=1 they add up to the request.
"""

import argparse
import collections
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf
from speed import calibrated_model, scene
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import keras_maskrcnn as mrcnn  # noqa: F401 (registers what a .keras file holds)


def multiply_adds(model, height, width):
    """Counts the multiply-adds of convolutions and matrix products for one image."""

    @tf.function
    def detect(images):
        sizes = tf.constant([[height, width]])
        return model({"images": images, "sizes": sizes, "original_sizes": sizes}, training=False)

    concrete = detect.get_concrete_function(tf.TensorSpec([1, height, width, 3]))
    graph = convert_variables_to_constants_v2(concrete).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = tf.compat.v1.profiler.profile(graph, options=options)
    return counted.total_float_ops / 2


def matrix_rate(side=2048, repeats=5):
    """Returns the multiply-adds per second of a float32 matrix product."""
    a = tf.random.normal([side, side])
    product = tf.function(lambda x: x @ a)
    product(a)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        product(a).numpy()
        times.append(time.perf_counter() - start)
    return side**3 / min(times)


def request_times(folder, image, repeats):
    """Returns the seconds of each request, and {operation: (seconds, calls)} of the last one."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(folder))
        signature = meta.signature_def["serving_default"]
        fetches = {name: info.name for name, info in signature.outputs.items()}
        feed = {signature.inputs["images"].name: image[None]}
        session.run(fetches, feed)
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            session.run(fetches, feed)
            times.append(time.perf_counter() - start)
        trace = tf.compat.v1.RunMetadata()
        full = tf.compat.v1.RunOptions(trace_level=tf.compat.v1.RunOptions.FULL_TRACE)
        session.run(fetches, feed, options=full, run_metadata=trace)
    spent = collections.defaultdict(lambda: [0.0, 0])
    for device in trace.step_stats.dev_stats:
        for node in device.node_stats:
            kind = node.timeline_label.split(" = ")[-1].split("(")[0]
            spent[kind][0] += (node.op_end_rel_micros - node.op_start_rel_micros) / 1e6
            spent[kind][1] += 1
    return times, spent


def main():
    """Prints the floor, the time of a request, and the time of each operation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="800x1088", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    height, width = map(int, arguments.size.split("x"))
    image, *_ = scene(height, width, 0)
    model = calibrated_model(image, min(height, width), max(height, width))
    count = multiply_adds(model, height, width)
    with tempfile.TemporaryDirectory() as folder:
        model.export(pathlib.Path(folder) / "1", verbose=False)
        rate = matrix_rate()
        times, spent = request_times(pathlib.Path(folder) / "1", image, arguments.repeats)
        rate = max(rate, matrix_rate())
    floor, median = count / rate, statistics.median(times)
    print(f"{count / 1e9:.1f} G multiply-adds at {rate / 1e9:.0f} G per second: {floor:.3f} s")
    print(f"request: median {median:.3f} s of {np.round(times, 3)}, {median / floor:.2f} floors")
    print("| operation | calls | s |\n| --- | --- | --- |")
    for kind, (seconds, calls) in sorted(spent.items(), key=lambda item: -item[1][0])[:20]:
        print(f"| {kind} | {calls} | {seconds:.3f} |")


if __name__ == "__main__":
    main()
