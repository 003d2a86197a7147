import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, assert_close, slow


def run_litert(path, canvas):
    """Runs the first signature of a file in TensorFlow's interpreter."""
    run = tf.lite.Interpreter(str(path)).get_signature_runner()
    return run(images=canvas["images"], sizes=canvas["sizes"])


@pytest.mark.parametrize("overrides", FAMILIES, ids=str)
def test_litert_finds_what_the_model_finds(lively, tiny_config, canvas, tmp_path, overrides):
    model, path = lively(tiny_config, **overrides), tmp_path / "model.tflite"
    model.export(path, format="litert", image_size=(64, 96), verbose=False)
    found = run_litert(path, canvas)
    assert_close(found, model(canvas, training=False), 1e-3)


@slow
@pytest.mark.parametrize(("precision", "share"), [("float16", 0.51), ("int8", 0.27)])
def test_weights_of_fewer_bits_take_less_room(
    lively, tiny_config, canvas, tmp_path, precision, share
):
    model, path = lively(tiny_config), tmp_path / "model.tflite"
    model.export(path, "litert", image_size=(64, 96), precision=precision, verbose=False)
    assert path.stat().st_size < share * 4 * model.count_params()
    found, expected = run_litert(path, canvas), model(canvas, training=False)
    assert found["num_detections"][0] > 0
    if precision == "float16":
        best = expected["scores"][0, 0]
        np.testing.assert_allclose(found["scores"][0, 0], best, rtol=0.02)


def test_another_precision_is_refused(lively, tiny_config, tmp_path):
    line = "must be one of float32, float16, int8. Received: precision='bfloat16'"
    with pytest.raises(ValueError, match=line):
        lively(tiny_config).export(
            tmp_path / "model.tflite", "litert", image_size=(64, 96), precision="bfloat16"
        )


def test_a_file_of_another_name_is_refused(lively, tiny_config, tmp_path):
    line = r"must end with '.tflite'. Received: filepath=.*model.lite"
    with pytest.raises(ValueError, match=line):
        lively(tiny_config).export(tmp_path / "model.lite", "litert", image_size=(64, 96))
