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
def test_litert_of_8_bits_is_a_quarter_as_large(lively, tiny_config, canvas, tmp_path):
    model = lively(tiny_config)
    precisions = ("float32", "int8")
    for precision in precisions:
        path = tmp_path / f"{precision}.tflite"
        model.export(path, "litert", image_size=(64, 96), precision=precision, verbose=False)
    sizes = [(tmp_path / f"{precision}.tflite").stat().st_size for precision in precisions]
    assert sizes[1] < 0.3 * sizes[0]
    assert run_litert(path, canvas)["num_detections"][0] > 0


def test_a_file_of_another_name_is_refused(lively, tiny_config, tmp_path):
    line = r"must end with '.tflite'. Received: filepath=.*model.lite"
    with pytest.raises(ValueError, match=line):
        lively(tiny_config).export(tmp_path / "model.lite", "litert", image_size=(64, 96))
