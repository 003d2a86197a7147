"""Runs in separate processes, which are killed without warning."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from outside import IMPORTED_FROM
from tiny_runs import TINY, make_shapes, without_times

from keras_maskrcnn import files
from keras_maskrcnn.training import read_backup

TESTS = pathlib.Path(__file__).parents[1]
EVERY = 3


def start(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(IMPORTED_FROM)}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment)


def reported(folder):
    """Returns the number of steps that the run has reported, 0 before the first."""
    path = folder / "reported"
    return int.from_bytes(path.read_bytes(), "little") if path.exists() else 0


def wait_for_step(folder, step, process):
    while reported(folder) < step:
        assert process.poll() is None
        time.sleep(0.001)


def being_written(folder):
    return any(name.startswith(files.UNFINISHED) for name in os.listdir(folder / "backup"))


@pytest.mark.slow
def test_200_moments_leave_a_backup_that_is_one_interval_old_at_most(tmp_path):
    """A stopped process leaves the same files as kill -9, because the page cache outlives both."""
    process = start(TESTS / "training" / "endless_run.py", tmp_path, EVERY)
    rng, writing, steps = random.Random(0), 0, set()
    try:
        wait_for_step(tmp_path, 1, process)
        for moment in range(200):
            time.sleep(rng.uniform(0, 0.05))
            end = time.monotonic() + 10
            while moment % 2 and not being_written(tmp_path) and time.monotonic() < end:
                pass  # every second moment is during the writing of a backup
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)  # until it has stopped
            writing += being_written(tmp_path)
            _, state, _ = read_backup(tmp_path / "backup")
            assert 0 <= reported(tmp_path) - state["step"] <= EVERY
            steps.add(state["step"])
            os.kill(process.pid, signal.SIGCONT)
    finally:
        process.kill()
        process.wait()
    print(f"{writing} of 200 moments while a file was written, {len(steps)} different backups")
    assert writing > 50
    assert len(steps) > 50


@pytest.mark.slow
def test_a_run_goes_on_after_each_of_five_kills(tmp_path):
    rng, began = random.Random(0), []
    for _ in range(5):
        before = reported(tmp_path)
        process = start(TESTS / "training" / "endless_run.py", tmp_path, EVERY)
        try:
            wait_for_step(tmp_path, before + 20, process)
            time.sleep(rng.uniform(0, 0.1))
        finally:
            process.kill()
            process.wait()
        began.append(int((tmp_path / "began").read_text()))
        assert 0 <= before - began[-1] <= EVERY
    assert began == sorted(began) and began[-1] >= 80 - 4 * EVERY


@pytest.mark.slow
def test_ten_steps_are_five_a_kill_and_five_in_another_process(tmp_path):
    make_shapes(tmp_path / "shapes", train=6, val=2, size=64)
    annotations = tmp_path / "shapes" / "annotations"
    command = [
        "-m",
        "keras_maskrcnn",
        "train",
        *TINY,
        "--steps=10",
        "--save_every=5",  # an epoch has 3 steps
        f"--images={tmp_path / 'shapes' / 'train'}",
        f"--annotations={annotations / 'train.json'}",
    ]

    def run(name, *flags):
        return start(*command, f"--output={tmp_path / name}", *flags)

    assert run("whole").wait() == 0
    killed = run("killed")
    try:
        while not (tmp_path / "killed" / "backup" / "step_00000005.npz").exists():
            assert killed.poll() is None
            time.sleep(0.001)
    finally:
        killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert read_backup(tmp_path / "killed" / "backup")[1]["step"] in (5, 6)  # 6 ends an epoch
    assert run("killed", "--resume").wait() == 0
    whole, resumed = (tmp_path / name for name in ("whole", "killed"))
    ours, theirs = (without_times(path / "history.json") for path in (whole, resumed))
    assert ours == theirs
    models = [keras.models.load_model(folder / "model.keras") for folder in (whole, resumed)]
    ours, theirs = (model.weights + model.optimizer.variables for model in models)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
