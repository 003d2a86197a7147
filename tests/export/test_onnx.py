import pytest
from families import FAMILIES, assert_close

from keras_maskrcnn.export import export_onnx


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


def test_that_a_package_is_missing_is_said_with_what_to_install(monkeypatch):
    def export_portable(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'onnx'")

    monkeypatch.setattr("keras_maskrcnn.export.onnx.export_portable", export_portable)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[onnx\]. Received: No mod"):
        export_onnx(None, "model.onnx", image_size=(64, 96))
