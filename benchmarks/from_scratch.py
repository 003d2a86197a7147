"""Trains a model from random weights and measures it: scores, time per step, memory.

compare_backbones.py, five_bands.py and gray.py import it. Each training is a process of its own, so
that its peak memory and its CPU time are its own, and a training that was scored is not repeated.
"""

import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

FIRST = 10  # steps that are not timed: they trace the graph and fill caches


def run_missing(script, output, names, seeds, arguments=()):
    """Starts a process for each training without a result, one after the other.

    Args:
        script: path of the benchmark. It is called with `one --name=... --seed=... --output=...`
            and writes the file `result_path` names.
        output: folder of the results.
        names: names of trainings.
        seeds: ints.
        arguments: further arguments for the script.

    Returns:
        The names, with seed, of the trainings that failed.
    """
    output = pathlib.Path(output)
    output.mkdir(parents=True, exist_ok=True)
    failed = []
    for seed in seeds:
        for name in names:
            path = result_path(output, name, seed)
            if path.exists():
                continue
            command = [sys.executable, str(script), "one", f"--name={name}", f"--seed={seed}"]
            command += [f"--output={output}", *arguments]
            with open(path.with_suffix(".log"), "w") as log:
                code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
            if code:
                failed.append(f"{name}-{seed}")
                print(f"{path.stem}: failed, see {path.with_suffix('.log')}", flush=True)
            else:
                print(f"{path.stem}: {shown(json.loads(path.read_text()))}", flush=True)
    return failed


def result_path(output, name, seed):
    """Returns the path of a training's result."""
    return pathlib.Path(output) / f"{name.replace(' ', '_')}-{seed}.json"


def shown(result):
    """Returns one line about a result."""
    parts = [f"{key} {result[key]:.3f}" for key in ("segm/AP", "bbox/AP") if key in result]
    parts.append(f"{result['cpu_per_step']:.2f} CPU s and {result['wall_per_step']:.2f} s per step")
    return ", ".join([*parts, f"{result['peak_mib']:.0f} MiB"])


def train(model, dataset, recipe, seed):
    """Trains a model with `fit`.

    Args:
        model: MaskRCNN, not compiled.
        dataset: data set to train on.
        recipe: training.Recipe.
        seed: int. Of the order of images.

    Returns:
        dict of `cpu_per_step` and `wall_per_step` (medians), `cpu_of_training`, seconds; `peak_mib`
            of the process until then; `parameters`, those of the `backbone`, and the last losses.
    """
    import keras

    import keras_maskrcnn as mrcnn

    class Clock(keras.callbacks.Callback):
        """Notes the time after each step."""

        def __init__(self):
            super().__init__()
            self.wall, self.cpu = [], []

        def on_train_batch_end(self, batch, logs=None):
            self.wall.append(time.perf_counter())
            self.cpu.append(time.process_time())
            if (batch + 1) % 25 == 0:
                loss = "" if logs is None else f", loss {float(logs['loss']):.3f}"
                print(f"{batch + 1} steps, {self.cpu[-1]:.0f} CPU s{loss}", flush=True)

    clock = Clock()
    started = time.process_time()
    model.compile(recipe.optimizer())
    batches = mrcnn.data.batches(
        dataset,
        recipe.batch_size,
        training=True,
        seed=seed,
        repeat=True,
        cache=True,
        **model.config.resizing(),
    )
    history = model.fit(
        batches, steps_per_epoch=recipe.steps, shuffle=False, verbose=0, callbacks=[clock]
    )
    return {
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "recipe": str(recipe),
        "cpu_per_step": median_step(clock.cpu),
        "wall_per_step": median_step(clock.wall),
        "cpu_of_training": time.process_time() - started,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": model.count_params(),
        "parameters_of_backbone": model.backbone.count_params(),
        "loss": history.history["loss"][-1],
    }


def median_step(times):
    """Returns the median of the steps after `FIRST`, or of all if there are no more.

    Args:
        times: seconds at the end of each step.
    """
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return statistics.median(steps[FIRST:] or steps)


def read(output, name, seeds=None):
    """Returns the results of a training's seeds, as far as they exist.

    Args:
        output: folder of the results.
        name: name of the training.
        seeds: ints; None for all.
    """
    paths = sorted(pathlib.Path(output).glob(result_path("", name, "*").name))
    found = [json.loads(path.read_text()) for path in paths]
    return [result for result in found if seeds is None or result["seed"] in seeds]


def mean_and_spread(values, digits=3):
    """Returns the mean, and the standard deviation if there is more than one value, as text."""
    text = f"{statistics.mean(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ± {statistics.stdev(values):.{digits}f}"


def print_table(output, title, names, metrics):
    """Prints a Markdown table of the trainings that have a result.

    Args:
        output: folder of the results.
        title: heading of the first column.
        names: names of trainings, a row each.
        metrics: keys of scores, a column each. Time and memory follow.
    """
    print(f"| {title} | seeds |", " | ".join(metrics), "| CPU s per step | peak, MiB |")
    print("| --- |", " | ".join(["---"] * (len(metrics) + 3)), "|")
    for name in names:
        found = read(output, name)
        if found:
            cells = [
                mean_and_spread([result[key] for result in found], digits)
                for key, digits in (
                    *((metric, 3) for metric in metrics),
                    *(("cpu_per_step", 2), ("peak_mib", 0)),
                )
            ]
            print(f"| {name} | {len(found)} |", " | ".join(cells), "|")
