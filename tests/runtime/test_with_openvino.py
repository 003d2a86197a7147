import pytest
from tiny_exports import describe, write_onnx

openvino = pytest.importorskip("openvino", reason="needs the extra openvino")

from keras_maskrcnn.runtime.with_openvino import OpenVino  # noqa: E402


@pytest.mark.parametrize(
    ("precision", "hint"), [("float32", "f32"), ("int8", "f32"), ("bfloat16", "bf16")]
)
def test_the_precision_is_that_of_the_description(monkeypatch, tmp_path, precision, hint):
    """By itself OpenVINO would compute a float32 file in bfloat16."""
    path, given, compile_model = tmp_path / "m.onnx", [], openvino.compile_model

    def compile_and_note(model, device, settings):
        given.append(settings)
        return compile_model(model, device, settings)

    monkeypatch.setattr(openvino, "compile_model", compile_and_note)
    write_onnx(path, describe(precision=precision))
    OpenVino(str(path), 2)
    (settings,) = given
    assert settings["INFERENCE_PRECISION_HINT"] == hint
    assert settings["INFERENCE_NUM_THREADS"] == "2"
