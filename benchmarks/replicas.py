"""Compares the same training in float32 and bfloat16, on one device and on two.

    python benchmarks/replicas.py run --output=DIR --seed=0 [--only=bfloat16] [--steps=900]
    python benchmarks/replicas.py report --output=DIR

`run` trains the FPN of `ablations.py` on colored shapes for each combination, in a separate
process. It scores each model with pycocotools on unseen images and writes DIR/NAME-SEED.json.
Existing files are kept, so a stopped `run` can be started again. `report` prints the table of
RESULTS.md: AP (mean and spread over the seeds), the median time of a step with its input, and the
peak memory of the process until the end of training. The two devices are logical devices on the
same CPUs. They show that the numbers are right, not that training gets faster.
"""

import argparse
import itertools
import json
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np
from ablations import BATCH, FPN, SIZE, STEPS, TRAIN, VAL, result_path, scores

POLICIES, DEVICES = ("float32", "mixed_bfloat16"), (1, 2)
# (metric, unit, digits)
COLUMNS = (
    ("segm/AP", 0.01, 1),
    ("bbox/AP", 0.01, 1),
    ("step_seconds", 1.0, 3),
    ("peak_bytes", 1e9, 2),
)


def run_name(policy, devices):
    """Returns the name of a combination, for its files."""
    return f"{policy} on {devices}"


def run(output, seed, only, steps):
    """Starts a process for each combination that has no scores yet."""
    from shapes import make_shapes

    if not (output / "data").exists():
        make_shapes(output / "data", train=TRAIN, val=VAL, size=SIZE)
    for policy, devices in itertools.product(POLICIES, DEVICES):
        name = run_name(policy, devices)
        if result_path(output, name, seed).exists() or (only and only not in name):
            continue
        command = [sys.executable, __file__, "one", f"--output={output}", f"--seed={seed}"]
        command += [f"--policy={policy}", f"--devices={devices}", f"--steps={steps}"]
        subprocess.run(command, check=True)


def run_one(output, seed, policy, devices, steps):
    """Trains and scores one combination."""
    import keras
    import tensorflow as tf

    import keras_maskrcnn as mrcnn
    from keras_maskrcnn.distribution import make_strategy

    cpu = tf.config.list_physical_devices("CPU")[0]
    logical = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, logical)
    names = [f"CPU:{i}" for i in range(devices)]
    strategy = make_strategy("mirrored", names) if devices > 1 else make_strategy("none")
    train, val = (
        mrcnn.data.coco_json(output / "data" / part, output / f"data/annotations/{part}.json")
        for part in ("train", "val")
    )
    ends = []
    timer = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
    )
    keras.utils.set_random_seed(seed)
    with strategy.scope():
        config = mrcnn.MaskRCNNConfig(num_classes=train.num_classes, **FPN)
        model = mrcnn.MaskRCNN(config, dtype=policy)
        model.compile(mrcnn.training.Recipe(steps, BATCH, **mrcnn.training.ADAMW).optimizer())
    batches = mrcnn.data.batches(
        train, BATCH, training=True, seed=seed, repeat=True, **config.resizing()
    )
    model.fit(batches, steps_per_epoch=steps, callbacks=[timer], shuffle=False, verbose=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # bytes; Linux counts KiB
    metrics = mrcnn.evaluate(model, val, batch_size=4, max_detections=50, verbose=0)
    metrics |= {"step_seconds": float(np.median(np.diff(ends))), "peak_bytes": peak}
    path = result_path(output, run_name(policy, devices), seed)
    path.write_text(json.dumps(metrics, indent=1))
    print(f"{path.name}: {metrics['segm/AP']:.3f}", flush=True)


def report(output):
    """Prints the table."""
    print("| | seeds | segm/AP | bbox/AP | step, s | peak memory, GB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for policy, devices in itertools.product(POLICIES, DEVICES):
        name = run_name(policy, devices)
        cells = []
        for metric, unit, digits in COLUMNS:
            values = scores(output, name, metric) / (100 * unit)  # `scores` are in percent
            spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{values.mean():.{digits}f}{spread}" if len(values) else "-")
        print(f"| {name} | {len(scores(output, name, 'segm/AP'))} |", " | ".join(cells), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["run", "one", "report"])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", help="train only combinations with this in their name")
    parser.add_argument("--policy", choices=POLICIES, default=POLICIES[0], help="for `one`")
    parser.add_argument("--devices", type=int, default=1, help="for `one`")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.action == "run":
        run(arguments.output, arguments.seed, arguments.only, arguments.steps)
    elif arguments.action == "one":
        run_one(
            arguments.output, arguments.seed, arguments.policy, arguments.devices, arguments.steps
        )
    else:
        report(arguments.output)
