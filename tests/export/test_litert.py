import keras
import numpy as np
import pytest
import tensorflow as tf
from families import FAMILIES, assert_close, slow

from keras_maskrcnn.runtime import ExportedModel


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


@slow
def test_class_thresholds_are_in_files_of_tensorflow(lively, tiny_config, canvas, tmp_path):
    """A .keras file, LiteRT, and a SavedModel."""
    model = lively(tiny_config)
    found = model(canvas, training=False)
    scores, labels = np.asarray(found["scores"]), np.asarray(found["labels"])
    label = int(np.bincount(labels[labels > 0]).argmax())
    thresholds = np.zeros(tiny_config.num_classes)
    thresholds[label - 1] = np.median(scores[labels == label]) + 1e-4
    chosen = model.with_config(class_thresholds=tuple(thresholds.tolist()))
    chosen.save(tmp_path / "model.keras")
    chosen = keras.models.load_model(tmp_path / "model.keras")
    expected = chosen(canvas, training=False)
    own = np.asarray(expected["labels"]) == label
    assert 0 < own.sum() < (labels == label).sum()
    assert np.asarray(expected["scores"])[own].min() >= thresholds.max()
    chosen.export(tmp_path / "model.tflite", format="litert", image_size=(64, 96), verbose=False)
    assert_close(run_litert(tmp_path / "model.tflite", canvas), expected, 1e-3)
    chosen.export(tmp_path / "saved", verbose=False)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
    served = ExportedModel(tmp_path / "saved")
    assert served.class_thresholds == chosen.config.class_thresholds
    found, expected = served.predict_on_batch(images), chosen(images)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-3)
    np.testing.assert_array_equal(found["labels"], expected["labels"])
