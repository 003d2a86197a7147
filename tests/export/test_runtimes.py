"""Portable models against the ordinary one: in TensorFlow, ONNX Runtime and LiteRT."""

import os
import pathlib
import threading
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.export import export_onnx, portable_model
from keras_maskrcnn.export.portable_model import PortableModel

C4 = {"neck": "c4", "mask_pool_size": 7, "box_head_layers": 0, "mask_head_convs": 0}
MATTERPORT = {"roi_op": "crop", "anchor_rule": "matterport", "rpn_joint_nms": True}
# In the default run the model that has every part; what else converts takes as long again.
slow = pytest.mark.slow
FAMILIES = [
    {},
    pytest.param(C4, marks=slow),
    pytest.param({"task": "boxes"}, marks=slow),
    pytest.param({"sampling_ratio": 0}, marks=slow),
    pytest.param({"task": "proposals"}, marks=slow),
    pytest.param({"neck": "dc5", "backbone": "resnext50_32x4d"}, marks=slow),
    pytest.param({"head_norm": "group", "fpn_channels": 32, "mask_head_channels": 32}, marks=slow),
]


def assert_close(found, expected, atol):
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=atol, err_msg=name)


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


@pytest.mark.parametrize("overrides", FAMILIES, ids=str)
def test_onnx_runtime_finds_what_the_model_finds(lively, tiny_config, canvas, tmp_path, overrides):
    pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, path = lively(tiny_config, **overrides), tmp_path / "model.onnx"
    model.export(path, format="onnx", image_size=(64, 96), verbose=False)
    session = onnxruntime.InferenceSession(path)
    values = session.run(None, {name: canvas[name] for name in ("images", "sizes")})
    found = dict(zip((x.name for x in session.get_outputs()), values, strict=True))
    assert_close(found, model(canvas, training=False), 1e-3)


@pytest.mark.parametrize("overrides", FAMILIES, ids=str)
def test_litert_finds_what_the_model_finds(lively, tiny_config, canvas, tmp_path, overrides):
    model, path = lively(tiny_config, **overrides), tmp_path / "model.tflite"
    model.export(path, format="litert", image_size=(64, 96), verbose=False)
    found = run_litert(path, canvas)
    assert_close(found, model(canvas, training=False), 1e-3)


@slow
def test_litert_of_8_bits_is_a_quarter_as_large(lively, tiny_config, canvas, tmp_path):
    model = lively(tiny_config)
    precisions = ("float32", "int8")
    for precision in precisions:
        path = tmp_path / f"{precision}.tflite"
        model.export(path, "litert", image_size=(64, 96), precision=precision, verbose=False)
    sizes = [(tmp_path / f"{precision}.tflite").stat().st_size for precision in precisions]
    assert sizes[1] < 0.3 * sizes[0]
    assert run_litert(path, canvas)["num_detections"][0] > 0


def run_litert(path, canvas):
    """Runs the first signature of a file in TensorFlow's interpreter."""
    run = tf.lite.Interpreter(str(path)).get_signature_runner()
    return run(images=canvas["images"], sizes=canvas["sizes"])


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
        lively(tiny_config, **overrides).export(tmp_path / "model", format="onnx", **arguments)


def test_that_a_package_is_missing_is_said_with_what_to_install(monkeypatch):
    def export_portable(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'onnx'")

    monkeypatch.setattr("keras_maskrcnn.export.onnx.export_portable", export_portable)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[onnx\]. Received: No mod"):
        export_onnx(None, "model.onnx", image_size=(64, 96))


def test_a_file_is_not_overwritten(lively, tiny_config, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="needs a new file"):
        lively(tiny_config).export(path, format="onnx", image_size=(64, 96))
    assert path.read_bytes() == b"mine"


def test_an_unknown_format_is_refused(lively, tiny_config, tmp_path):
    with pytest.raises(ValueError, match="format='torch'"):
        lively(tiny_config).export(tmp_path / "model", format="torch")


def test_options_that_an_export_lacks_are_named_with_those_it_has(lively, tiny_config, tmp_path):
    model = lively(tiny_config)
    for options, message in (
        ({"input_signature": [tf.TensorSpec([1, 64, 96, 3])]}, "fixed inputs.*: input_signature"),
        ({"opset_version": 18}, "tf_saved_model .* takes masks, precision, .*: opset_version"),
        ({"format": "onnx", "masks": "rle"}, "onnx .* takes image_size, batch_size, .*: masks"),
    ):
        with pytest.raises(ValueError, match=message):
            model.export(tmp_path / "served", **options)
    assert not list(tmp_path.iterdir())


class Writer:
    """In place of a `PortableModel`: writes slowly, or fails."""

    def __init__(self, barrier, failure=None):
        self.barrier, self.failure = barrier, failure

    def __call__(self, model):
        return self

    def export(self, filepath, **kwargs):
        pathlib.Path(filepath).write_bytes(b"half")
        self.barrier.wait(timeout=60)
        if self.failure:
            raise self.failure
        pathlib.Path(filepath).write_bytes(b"whole")


def test_exports_at_once_leave_one_whole_file(tiny_config, tmp_path, monkeypatch):
    path, errors = tmp_path / "a.tflite", []
    monkeypatch.setattr(portable_model, "PortableModel", Writer(threading.Barrier(2)))
    model = types.SimpleNamespace(config=tiny_config)

    def work():
        try:
            portable_model.export_portable(
                model, path, "litert", image_size=(64, 96), batch_size=1, verbose=False
            )
        except FileExistsError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == b"whole" and os.listdir(tmp_path) == ["a.tflite"]
    assert len(errors) < 2  # the later one may find the other's file, and says so


def test_an_export_that_fails_leaves_no_file(tiny_config, tmp_path, monkeypatch):
    failing = Writer(threading.Barrier(1), RuntimeError("full"))
    monkeypatch.setattr(portable_model, "PortableModel", failing)
    model = types.SimpleNamespace(config=tiny_config)
    with pytest.raises(RuntimeError, match="full"):
        portable_model.export_portable(
            model, tmp_path / "a.onnx", "onnx", image_size=(64, 96), batch_size=1, verbose=False
        )
    assert os.listdir(tmp_path) == []
