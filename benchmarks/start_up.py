"""Measures how long a new process needs until it can predict, for a model and its exports.

    python benchmarks/start_up.py model.keras served model.onnx openvino:model.onnx model.xml

Each file runs in processes of its own, `--rounds` times, in turn with the others. A process imports
what it needs and loads the file ("ready"), and then predicts the same image twice. The table has
medians.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

SIDE = 512  # of the image


def measure(name, threads):
    """Prints [wall seconds, CPU seconds, peak MiB] when ready and after each of two calls."""
    start, rows = time.perf_counter(), []

    def mark():
        used = resource.getrusage(resource.RUSAGE_SELF)
        wall, cpu = time.perf_counter() - start, used.ru_utime + used.ru_stime
        rows.append([wall, cpu, used.ru_maxrss / 1024])

    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    if name.endswith(".keras"):
        import keras

        import keras_maskrcnn

        model = keras.saving.load_model(name, compile=False)

        def predict():
            keras_maskrcnn.predict_image(model, image)
    else:
        from keras_maskrcnn.runtime import ExportedModel

        runtime, _, path = name.rpartition(":")
        exported = ExportedModel(path, runtime=runtime or None, threads=threads)

        def predict():
            exported.predict(image)

    for step in (lambda: None, predict, predict):
        step()
        mark()
    print(json.dumps(rows))


def main(names, rounds, threads):
    """Prints a row for each file."""
    found = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            command = [sys.executable, __file__, name, "--one", f"--threads={threads}"]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| file | ready, s | CPU s | first call, CPU s | next call, CPU s | peak MiB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, runs in found.items():
        runs = np.array(runs)  # (rounds, 3, 3)
        wall, cpu = np.median(runs[:, 0, 0]), np.median(runs[:, 0, 1])
        first, second = (np.median(runs[:, i, 1] - runs[:, i - 1, 1]) for i in (1, 2))
        peak = statistics.median(runs[:, 2, 2].tolist())
        print(f"| `{name}` | {wall:.1f} | {cpu:.1f} | {first:.1f} | {second:.1f} | {peak:.0f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.files[0], options.threads)
    else:
        main(options.files, options.rounds, options.threads)
