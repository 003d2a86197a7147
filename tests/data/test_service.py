"""data/service.py: batches of a tf.data service in this process, and in two others."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from five_images import assert_equal, numpy, small
from test_graph_records import build, write_image, write_json

from keras_maskrcnn.data import origin, tfds_dataset
from keras_maskrcnn.data.service import through_service

service = tf.data.experimental.service
SCRIPT = Path(__file__).parents[2] / "examples/data_service.py"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write_json(folder, [write_image(folder, i, "png") for i in range(8)])
    return tfds_dataset(build(folder, folder), "train")


def in_order(batches):
    """Sorts batches by the images they hold and by their pixels, which differ by flips."""
    return sorted(batches, key=lambda b: (b[0]["indices"].tolist(), b[0]["images"].sum()))


def test_the_batches_of_a_worker_are_those_of_the_order(records):
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    worker = service.WorkerServer(service.WorkerConfig(address, heartbeat_interval_ms=100))
    batches = small(records, training=True, steps=9, first_step=2)
    served = through_service(batches, address)
    assert origin.made_with(served) == origin.made_with(batches)
    assert_equal(numpy(served), numpy(batches))
    del worker, dispatcher


def test_python_functions_and_missing_dispatchers_are_refused(records):
    with pytest.raises(ValueError, match="must call no Python function"):
        through_service(small(records, training=True, repeat=True), "localhost:1")
    batches = small(records, training=True, steps=1)
    with socket.socket() as unused:
        unused.bind(("localhost", 0))
        for address in (f"localhost:{unused.getsockname()[1]}", "localhost"):
            with pytest.raises(ValueError, match=f"running dispatcher.*address='{address}' "):
                through_service(batches, address)


def cpu_seconds(process):
    """Returns the seconds that a process has computed."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def start(*flags):
    """Starts the example's script; returns the process and the first line that it prints."""
    command = [sys.executable, SCRIPT, *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return process, process.stdout.readline().strip()


@pytest.mark.slow
def test_two_worker_processes_make_each_batch_once(records):
    processes = []
    try:
        dispatcher, line = start("--port=0")
        processes.append(dispatcher)
        address = line.removeprefix("dispatcher at grpc://")
        for _ in range(2):
            worker, line = start(f"--dispatcher={address}", "--host=localhost")
            processes.append(worker)
            assert line == f"worker of {address}"
        batches = small(records, training=True, steps=40, augment=[slow])
        before = [cpu_seconds(process) for process in processes[1:]]
        served = numpy(through_service(batches, address))
        assert len(served) == 40
        assert_equal(in_order(served), in_order(numpy(batches)))
        worked = [cpu_seconds(p) - b for p, b in zip(processes[1:], before, strict=True)]
        assert min(worked) > 0.2 * max(worked), worked
    finally:
        for process in processes:
            process.kill()
            process.wait()


def slow(example, seed):
    """An augmentation that changes nothing, so slowly that both workers get some batches."""
    noise = tf.random.stateless_uniform([300_000], seed)
    zero = tf.cast(tf.reduce_max(tf.sort(noise)) > 2, example["image"].dtype)
    return {**example, "image": example["image"] + zero}
