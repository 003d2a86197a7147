"""One process at a time trains into a folder."""

import gc
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from keras_maskrcnn import cli
from keras_maskrcnn.training import Backup, lock

# Another process that holds the folder. It loads this module alone, without TensorFlow.
HOLD = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
held = lock.lock_folder(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the folder."""
    command = [sys.executable, "-c", HOLD, lock.__file__, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_named_until_it_is_killed(tmp_path, other):
    owner = f"process {other.pid} on {socket.gethostname()} writes into {tmp_path}; "
    with pytest.raises(BlockingIOError, match=owner):
        lock.lock_folder(tmp_path)
    assert os.listdir(tmp_path) == ["lock"]
    other.send_signal(signal.SIGKILL)
    other.wait()
    held = lock.lock_folder(tmp_path)
    assert (tmp_path / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    held.release()


def test_a_second_run_names_the_first_one(tmp_path, other, capsys):
    with pytest.raises(BlockingIOError, match=f"process {other.pid} on "):
        Backup(tmp_path)
    Backup(tmp_path, write=False)  # a worker that does not write
    (tmp_path / "step_00000001.npz").write_bytes(b"")
    output = tmp_path.parent / "run"
    output.mkdir()
    (output / "backup").symlink_to(tmp_path)
    flags = {"images": "a", "annotations": "a.json", "preset": "mask_rcnn_resnet18_fpn_small"}
    for more in ([], ["--resume"]):
        given = [f"--{name}={value}" for name, value in flags.items()]
        assert cli.run(["train", *given, f"--output={output}", *more]) == 1
        assert f"train: process {other.pid} on {socket.gethostname()}" in capsys.readouterr().err


def test_a_folder_is_free_when_it_is_released_or_nobody_refers_to_it(tmp_path):
    held = lock.lock_folder(tmp_path / "new")
    assert lock.lock_folder(tmp_path / "new" / ".." / "new") is held
    held.release()
    held.release()
    again = lock.lock_folder(tmp_path / "new")
    assert again is not held and again.release.alive
    del again
    gc.collect()
    assert os.listdir(tmp_path / "new") == []


def test_a_lock_that_its_owner_removes_meanwhile_locks_nothing(tmp_path, monkeypatch):
    """Two processes open the file, its owner removes it and ends, a third makes a new one."""
    flock, path = lock.fcntl.flock, tmp_path / "lock"

    def late(descriptor, how):
        monkeypatch.undo()
        path.unlink()
        return flock(descriptor, how)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    held = lock.lock_folder(tmp_path)
    assert path.exists()
    held.release()


def test_without_locks_a_line_says_so(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, how):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", refuse)
    lock.lock_folder(tmp_path).release()
    assert "no locks here (No locks available); let only one process write" in caplog.text


def test_the_lock_is_not_a_copy_of_a_child_to_remove(tmp_path):
    held = lock.lock_folder(tmp_path)
    child = os.fork()
    if not child:
        held.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert pathlib.Path(tmp_path, "lock").exists()
    held.release()


@pytest.mark.parametrize("name", ["_is_at", "fcntl"])
def test_file_systems_that_number_files_anew_and_windows_do_not_keep_from_training(
    tmp_path, monkeypatch, caplog, name
):
    monkeypatch.setattr(lock, name, (lambda *_: False) if name == "_is_at" else None)
    lock.lock_folder(tmp_path).release()
    assert ("no locks here" in caplog.text) == (name == "fcntl")


def test_a_lock_is_not_written_through_a_link(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="run/lock"):
        lock.lock_folder(tmp_path / "run")
    assert (tmp_path / "mine").read_text() == "text"
