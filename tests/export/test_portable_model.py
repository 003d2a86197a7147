import functools
import os
import pathlib
import threading
import types

import pytest
from families import C4, MATTERPORT, assert_close, slow

from keras_maskrcnn.export import portable_model
from keras_maskrcnn.export.portable_model import PortableModel


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        C4,
        {"sampling_ratio": 0},
        pytest.param({"task": "boxes"}, marks=slow),
        pytest.param(MATTERPORT, marks=slow),
        pytest.param({"roi_op": "warp"}, marks=slow),
    ],
    ids=str,
)
def test_a_portable_model_equals_the_ordinary(lively, tiny_config, canvas, overrides):
    model = lively(tiny_config, **overrides)
    found = PortableModel(model)(canvas["images"], canvas["sizes"])
    assert_close(found, model(canvas, training=False), 1e-4)


@pytest.mark.parametrize(
    ("overrides", "arguments", "message"),
    [
        ({}, {"image_size": (64, 100)}, r"multiples of 32\. Received: image_size=\(64, 100\)"),
        ({}, {"image_size": (0, 64)}, r"image_size=\(0, 64\)"),
        ({}, {"image_size": (64, 64), "batch_size": 0}, "batch_size=0"),
        ({"proposals": "precomputed"}, {"image_size": (64, 64)}, "proposals='precomputed'"),
        ({"roi_op": "pool", "roi_pooling": "max"}, {"image_size": (64, 64)}, "roi_op='pool'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused(
    lively, tiny_config, tmp_path, overrides, arguments, message
):
    with pytest.raises(ValueError, match=message):
        lively(tiny_config, **overrides).export(tmp_path / "m.onnx", format="onnx", **arguments)


def test_an_onnx_file_is_called_so(lively, tiny_config, tmp_path):
    line = r"must end with '\.onnx'\. Received: filepath=.*model\.xml"
    with pytest.raises(ValueError, match=line):
        lively(tiny_config).export(tmp_path / "model.xml", format="onnx")


def test_a_file_is_not_overwritten(lively, tiny_config, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="needs a new file"):
        lively(tiny_config).export(path, format="onnx", image_size=(64, 96))
    assert path.read_bytes() == b"mine"


class Writer:
    """Stands for a conversion; writes slowly, or fails."""

    def __init__(self, barrier, failure=None):
        self.barrier, self.failure = barrier, failure

    def __call__(self, function, signature, filepath):
        pathlib.Path(filepath).write_bytes(b"half")
        self.barrier.wait(timeout=60)
        if self.failure:
            raise self.failure
        pathlib.Path(filepath).write_bytes(b"whole")


@pytest.fixture
def export(tiny_config, monkeypatch):
    """Function of a file and a `Writer` that exports a model without parts."""
    monkeypatch.setattr(portable_model, "PortableModel", lambda model: None)
    return functools.partial(
        portable_model.export_portable,
        types.SimpleNamespace(config=tiny_config),
        image_size=(64, 96),
        batch_size=1,
        verbose=False,
    )


def test_exports_at_once_leave_one_whole_file(export, tmp_path):
    path, errors, writer = tmp_path / "a.tflite", [], Writer(threading.Barrier(2))

    def work():
        try:
            export(path, writer)
        except FileExistsError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == b"whole" and os.listdir(tmp_path) == ["a.tflite"]
    assert len(errors) < 2  # the second writer may find the first one's file, and fail


def test_an_export_that_fails_leaves_no_file(export, tmp_path):
    with pytest.raises(RuntimeError, match="full"):
        export(tmp_path / "a.onnx", Writer(threading.Barrier(1), RuntimeError("full")))
    assert os.listdir(tmp_path) == []
