import sys

import pytest
from families import FAMILIES, assert_close


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


def test_that_a_package_is_missing_is_said_with_what_to_install(
    lively, tiny_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install keras3-maskrcnn\[onnx\]. Received: .*tf2"):
        lively(tiny_config).export(tmp_path / "a.onnx", format="onnx", image_size=(64, 96))
    assert not list(tmp_path.iterdir())
