import subprocess
import sys

import pytest

from keras_maskrcnn.failed_imports import told


@pytest.fixture
def command(monkeypatch):
    """Returns a function that makes this process look like `keras-maskrcnn` with arguments."""
    return lambda *arguments: monkeypatch.setattr("sys.argv", ["bin/keras-maskrcnn", *arguments])


def test_a_command_ends_in_one_line(command, capsys):
    command("train")
    with pytest.raises(SystemExit, match="1"), told():
        raise ImportError("no module\nx")
    line = "keras-maskrcnn: no module x `keras-maskrcnn environment` describes this installation.\n"
    assert capsys.readouterr() == ("", line)


def test_other_processes_get_the_error(monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "environment"])
    with pytest.raises(ImportError, match="no module"), told():
        raise ImportError("no module")


def test_a_fault_of_this_package_keeps_its_traceback(command):
    command("train")
    with pytest.raises(AttributeError), told():
        raise AttributeError("x")


def test_environment_reports_why_the_package_cannot_be_imported(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch_of_nobody")
    program = [sys.executable, "-m", "keras_maskrcnn", "environment"]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    text = " ".join(done.stdout.split())
    assert "Keras unknown" in text and "Variables KERAS_BACKEND=torch_of_nobody" in text
    assert "- keras_maskrcnn cannot be imported. ImportError: keras_maskrcnn runs on the" in text
