"""Workers on several machines give the results of one, and wrong strategies are named."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from tiny_runs import TINY, data_flags, make_shapes, without_times

from keras_maskrcnn import distribution

PROGRAM = pathlib.Path(__file__).with_name("worker_program.py")
READING = PROGRAM.with_name("reading_program.py")
FAILING = PROGRAM.with_name("failing_program.py")
# As in test_replicas.py: proposals with nearly equal scores must not decide what is sampled.
EVERY_ROI = dict(norm="batch", roi_batch=60, roi_positive_fraction=1.0)


def cluster(workers):
    """Returns environments for this many worker processes on this machine; for one, ours."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(workers)]
    hosts = [f"localhost:{s.getsockname()[1]}" for s in sockets]
    for bound in sockets:
        bound.close()
    if workers == 1:
        return [os.environ]
    places = [
        {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        for index in range(workers)
    ]
    return [{**os.environ, "TF_CONFIG": json.dumps(place)} for place in places]


def run_workers(tmp_path, config, folder, workers, devices, program=PROGRAM):
    """Runs a program in this many processes; returns the output folder of each."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(dataclasses.asdict(config)))
    outputs, running = [], []
    for index, env in enumerate(cluster(workers)):
        outputs.append(tmp_path / f"worker_{workers}_{index}")
        command = [sys.executable, program, path, folder, outputs[-1]]
        running.append(subprocess.Popen([*command, str(devices)], env=env))
    try:
        assert [process.wait(timeout=550) for process in running] == [0] * workers
    finally:
        for process in running:
            process.kill()
    return outputs


def written(output):
    with np.load(output / "weights.npz") as file:
        weights = [file[name] for name in file.files]
    return weights, *json.loads((output / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_two_workers_train_and_evaluate_as_one_device(tiny_config, tmp_path, devices):
    make_shapes(tmp_path / "shapes", train=9, val=3, size=64)
    config = dataclasses.replace(tiny_config, backbone_width=8, **EVERY_ROI)
    (one,) = run_workers(tmp_path, config, tmp_path / "shapes", 1, 1)
    outputs = run_workers(tmp_path, config, tmp_path / "shapes", 2, devices)
    assert [(path / "model.keras").exists() for path in outputs] == [True, False]
    weights, results, history = written(one)
    assert {result["image_id"] for result in results} == {10, 11, 12}
    assert 0 < sum(history["skipped_steps"]) < 4  # the steps with the image that is NaN
    for output in outputs:
        same_weights, same_results, same_history = written(output)
        for first, second in zip(weights, same_weights, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-5, rtol=1e-5)
        assert [r["image_id"] for r in same_results] == [r["image_id"] for r in results]
        for first, second in zip(results, same_results, strict=True):
            assert second["score"] == pytest.approx(first["score"], abs=1e-5)
        assert same_history.keys() == history.keys()
        for name, values in history.items():
            assert same_history[name] == pytest.approx(values, rel=1e-3), name


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 2])
def test_each_of_two_workers_reads_its_share_and_gets_what_one_gets(tiny_config, tmp_path, devices):
    folder = tmp_path / "shapes"
    make_shapes(folder, train=7, val=3, size=64)
    broken = spoil(folder / "val", "broken", 1)
    config = dataclasses.replace(tiny_config, backbone_width=8, **EVERY_ROI)
    (one,) = run_workers(tmp_path, config, folder, 1, 1, READING)
    outputs = run_workers(tmp_path, config, folder, 2, devices, READING)
    expected, *found = [json.loads((path / "found.json").read_text()) for path in [one, *outputs]]
    for name in ("evaluate", "fit"):
        for unit in ("opens", "bytes"):
            counts = [part["read"][name][unit] for part in found]
            print(name, unit, "one:", expected["read"][name][unit], "two workers:", counts)
            assert sum(counts) == expected["read"][name][unit]
    # 3 training batches of 4 images; 2 validations of 3 images, whose last row is empty.
    assert expected["read"]["fit"]["opens"] == 3 * 4 + 2 * 3
    assert [part["read"]["fit"]["opens"] for part in found] == [3 * 2 + 2 * 2, 3 * 2 + 2 * 1]
    for output, part in zip(outputs, found, strict=True):
        with np.load(one / "weights.npz") as weights, np.load(output / "weights.npz") as same:
            assert weights.files == same.files
            for path in weights.files:  # limits as in test_replicas.py
                moving = path.endswith(("moving_mean", "moving_variance"))
                limits = dict(atol=1e-4, rtol=1e-4) if moving else dict(atol=1e-5, rtol=0.0)
                np.testing.assert_allclose(weights[path], same[path], err_msg=path, **limits)
        assert part["skipped"] == expected["skipped"] == {broken.name: 1}
        assert part["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
        assert [r["image_id"] for r in part["results"]] == [
            r["image_id"] for r in expected["results"]
        ]
        for ours, theirs in zip(part["history"], expected["history"], strict=True):
            for name, values in theirs.items():
                assert ours[name] == pytest.approx(values, rel=1e-3), name


def spoil(folder, copy, index):
    """Copies a folder of images; one of the copies cannot be read, though its header can."""
    shutil.copytree(folder, folder.parent / copy)
    broken = sorted((folder.parent / copy).iterdir())[index]
    broken.write_bytes(broken.read_bytes()[:-200])
    return broken


@pytest.mark.slow
def test_all_workers_name_an_image_that_one_of_them_cannot_read(tiny_config, tmp_path):
    folder = tmp_path / "shapes"
    make_shapes(folder, train=9, val=3, size=64)
    broken, spoiled = spoil(folder / "val", "broken", 1), spoil(folder / "train", "spoiled", 5)
    config = dataclasses.replace(tiny_config, backbone_width=8)
    (one,) = run_workers(tmp_path, config, folder, 1, 1, FAILING)
    outputs = run_workers(tmp_path, config, folder, 2, 1, FAILING)
    expected, *found = [json.loads((path / "found.json").read_text()) for path in [one, *outputs]]
    for part in found:
        print(part["seconds"], part["fit"])
    assert {result["image_id"] for result in expected["tiles"]} == {10, 11, 12}
    for part in [expected, *found]:
        assert [r["image_id"] for r in part["tiles"]] == [r["image_id"] for r in expected["tiles"]]
        scores = [r["score"] for r in expected["tiles"]]
        assert [r["score"] for r in part["tiles"]] == pytest.approx(scores, abs=1e-5)
        for name, path in (("by_tiles", broken), ("evaluate", broken), ("fit", spoiled)):
            assert part[name] == expected[name] and part[name][0] == "DataError"
            assert path.name in part[name][1] and "\n" not in part[name][1]


@pytest.mark.slow
def test_two_workers_of_the_command_stop_together_and_resume_as_if_they_had_not(tmp_path):
    make_shapes(tmp_path / "shapes", train=6, val=3, size=64)
    command = [sys.executable, "-m", "keras_maskrcnn", "train", *TINY]
    for part, prefix in (("train", ""), ("val", "val_")):
        command += data_flags(tmp_path / "shapes", part, prefix)

    def start(name, *flags):
        flags = ["--strategy=multi_worker", "--epochs=8", f"--output={tmp_path / name}", *flags]
        return [subprocess.Popen([*command, *flags], env=env) for env in cluster(2)]

    running = start("two")
    try:
        while not (tmp_path / "two" / "backup" / "step_00000003.npz").exists():
            assert all(process.poll() is None for process in running)
            time.sleep(0.1)
        running[1].send_signal(signal.SIGTERM)  # the other one gets no signal
        assert [process.wait(timeout=300) for process in running] == [143, 143]
        assert not (tmp_path / "two" / "model.keras").exists()
        running = start("two", "--resume")
        assert [process.wait(timeout=600) for process in running] == [0, 0]
        running = start("whole")  # the second batch of validation has one image
        assert [process.wait(timeout=600) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    ours, theirs = (without_times(tmp_path / name / "history.json") for name in ("two", "whole"))
    assert [epoch["step"] for epoch in ours] == [3 * i for i in range(1, 9)]
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize(
    ("cluster", "task", "chief"),
    [
        ({}, {}, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 0}, True),
        ({"worker": ["a:1", "b:1"]}, {"type": "worker", "index": 1}, False),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "chief", "index": 0}, True),
        ({"chief": ["a:1"], "worker": ["b:1"]}, {"type": "worker", "index": 0}, False),
    ],
)
def test_the_first_worker_is_the_chief(monkeypatch, cluster, task, chief):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    assert distribution.is_chief() is chief


def test_a_strategy_that_contradicts_tf_config_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="one of none, .* Received: strategy='tpu'"):
        distribution.make_strategy("tpu")
    with pytest.raises(ValueError, match="devices need strategy='mirrored'"):
        distribution.make_strategy("none", ["GPU:0"])
    with pytest.raises(ValueError, match="devices are CPU:0, CPU:1. Received: 'GPU:7'"):
        distribution.make_strategy("mirrored", ["CPU:0", "GPU:7"])
    with pytest.raises(ValueError, match="1 workers in TF_CONFIG"):
        distribution.make_strategy("multi_worker")
    place = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(place))
    with pytest.raises(ValueError, match="strategy='mirrored', 2 workers in TF_CONFIG"):
        distribution.make_strategy("mirrored")
    monkeypatch.setenv("TF_CONFIG", "worker 1")
    with pytest.raises(ValueError, match="TF_CONFIG is not JSON"):
        distribution.is_chief()
