import subprocess
import sys

import numpy as np
import pytest
from outside import IMPORTED_FROM
from tiny_exports import SAVED_MODEL

from keras_maskrcnn.runtime.with_tensorflow import TensorFlow, saved_model_folder


def test_the_newest_version_is_taken_by_its_number(tmp_path):
    for name in ("9", "10", "latest", "11"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "11" / "saved_model.pb").unlink()  # not complete
    assert saved_model_folder(tmp_path) == str(tmp_path / "10")
    assert saved_model_folder(tmp_path / "9") == str(tmp_path / "9")
    assert saved_model_folder(tmp_path / "11") is None and saved_model_folder("nowhere") is None


def test_threads_are_set_before_tensorflow_starts_and_refused_afterwards():
    program = f"""
import tensorflow as tf
from keras_maskrcnn.runtime import ExportedModel
ExportedModel({str(SAVED_MODEL)!r}, threads=1)
print(tf.config.threading.get_intra_op_parallelism_threads())
ExportedModel({str(SAVED_MODEL)!r}, threads=1)
try:
    ExportedModel({str(SAVED_MODEL)!r}, threads=2)
except ValueError as error:
    print(error)
"""
    environment = {"PYTHONPATH": str(IMPORTED_FROM), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    threads, *refusal = done.stdout.splitlines()
    assert threads == "1", done.stderr
    assert len(refusal) == 1 and refusal[0].endswith("in a process. Received: threads=2.")


def test_the_graph_s_own_refusal_is_one_line():
    file = TensorFlow(str(SAVED_MODEL), None)
    with pytest.raises(ValueError, match=r"^images must hold at least one pixel\. Received"):
        file.run({"images": np.zeros((1, 0, 4, 3), np.uint8)})
