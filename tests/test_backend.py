import json
import subprocess
import sys
import types

import pytest

from keras_maskrcnn import backend


@pytest.fixture
def before_keras(monkeypatch, tmp_path):
    """A process that has not imported Keras yet, with no settings; returns Keras' folder."""
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("text", [None, "{}", "no json", "[]", '{"backend": "tensorflow"}'])
def test_without_another_setting_keras_runs_on_tensorflow(before_keras, text):
    if text is not None:
        (before_keras / "keras.json").write_text(text)
    assert backend.setting()[0] == "tensorflow"


def test_a_user_without_a_home_has_no_file(before_keras, monkeypatch):
    """Such as the number that a container runs under."""
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda number: {}[number])
    monkeypatch.chdir(before_keras)
    assert backend.setting()[0] == "tensorflow"


def test_the_file_of_keras_is_named_if_it_has_another_backend(before_keras):
    (before_keras / "keras.json").write_text(json.dumps({"backend": "jax"}))
    with pytest.raises(ImportError, match=r"KERAS_BACKEND=tensorflow .*'jax' in .*keras\.json\.$"):
        backend.require_tensorflow()
    assert "keras" not in sys.modules  # jax may not be installed


def test_the_variable_is_stronger_than_the_file(before_keras, monkeypatch):
    (before_keras / "keras.json").write_text(json.dumps({"backend": "jax"}))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(ImportError, match=r"Received: KERAS_BACKEND='torch'\.$"):
        backend.require_tensorflow()


@pytest.mark.parametrize(
    ("version", "running", "words"),
    [
        ("2.15.0", "tensorflow", "needs Keras 3. Received: keras.__version__='2.15.0'"),
        ("3.15.1", "jax", r"TensorFlow backend .*keras.config.backend\(\)='jax'"),
    ],
)
def test_an_imported_keras_that_does_not_fit_is_refused(monkeypatch, version, running, words):
    config = types.SimpleNamespace(backend=lambda: running)
    fake = types.SimpleNamespace(__version__=version, config=config)
    monkeypatch.setitem(sys.modules, "keras", fake)
    with pytest.raises(ImportError, match=words):
        backend.require_tensorflow()


def test_an_imported_keras_on_tensorflow_is_taken_whatever_the_variable_says(monkeypatch):
    """`keras.config.set_backend` does not change the variable."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    backend.require_tensorflow()


@pytest.mark.parametrize(
    "use", ["from keras_maskrcnn import MaskRCNN", "import keras_maskrcnn as m; m.training.Run"]
)
def test_the_first_use_on_another_backend_ends_in_one_line(monkeypatch, use):
    """`import keras_maskrcnn` alone does not: `runtime` needs no Keras."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    program = [sys.executable, "-c", use]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: keras_maskrcnn runs on the TensorFlow backend of Keras")
    assert last.endswith("Received: KERAS_BACKEND='jax'.") and "During handling" not in done.stderr
