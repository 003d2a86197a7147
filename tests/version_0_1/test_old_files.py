"""Files that version 0.1 wrote go on working, and give the same numbers (make.py made them)."""

import pathlib
import runpy
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import MaskRCNN, cli

HERE = pathlib.Path(__file__).parent
FLAGS = runpy.run_path(str(HERE / "make.py"))["FLAGS"]


@pytest.fixture(scope="module")
def found():
    return dict(np.load(HERE / "found.npz"))


@pytest.fixture(scope="module")
def model():
    return keras.models.load_model(HERE / "run/model.keras")


def check(outputs, found, prefix):
    names = {name.removeprefix(prefix) for name in found if name.startswith(prefix)}
    assert set(outputs) == names
    for name in names:
        # Equal to the bit on the machine that wrote them; other CPUs add in another order.
        np.testing.assert_allclose(
            outputs[name], found[prefix + name], rtol=1e-4, atol=1e-4, err_msg=name
        )


def test_a_keras_file_finds_what_it_found(model, found):
    check(model.predict(found["image"][None], verbose=0), found, "predict_")


def test_a_weights_file_fits_a_model_of_the_same_config(model):
    other = MaskRCNN(model.config)
    other.load_weights(HERE / "model.weights.h5")
    for ours, theirs in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_a_saved_model_answers_as_it_did(found):
    served = tf.saved_model.load(str(HERE / "saved_model")).signatures["serving_default"]
    check(served(images=tf.constant(found["image"][None])), found, "serving_")


def test_a_backup_goes_on_to_the_same_weights(model, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(HERE / "run/backup", run / "backup")
    annotations = HERE / "shapes/annotations/train.json"
    flags = [f"--images={HERE / 'shapes/train'}", f"--annotations={annotations}"]
    assert cli.run(["train", *flags, f"--output={run}", "--resume", *FLAGS]) == 0
    ended = keras.models.load_model(run / "model.keras", compile=False)
    for ours, theirs in zip(ended.weights, model.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=ours.path)
