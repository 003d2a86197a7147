"""Keras' methods check their arguments first, and report a mistake in one line."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain_images import batches

import keras_maskrcnn as mrcnn
from keras_maskrcnn.model import LOSSES, MaskRCNN


def told(caplog):
    """The lines that the package logs."""
    return [record.getMessage() for record in caplog.records if record.name == "absl"]


@pytest.fixture
def quick(tiny_config, monkeypatch):
    """A model with constant losses and detections, so that tracing takes no time."""

    def losses(self, inputs, gt, training=True):
        value = tf.reduce_sum(self.mask_head.trainable_weights[0])
        value *= tf.reduce_sum(gt["boxes"])
        return {name: value for name in LOSSES if name in self.trackers}

    def call(self, inputs, training=False):
        return {"scores": tf.reduce_sum(tf.cast(inputs["images"], tf.float32), axis=[1, 2, 3])}

    monkeypatch.setattr(MaskRCNN, "compute_losses", losses)
    monkeypatch.setattr(MaskRCNN, "call", call)
    model = MaskRCNN(dataclasses.replace(tiny_config, proposals="precomputed"))
    model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    return model


def test_fit_before_compile_says_what_is_missing(tiny_config, batch):
    with pytest.raises(ValueError, match=r"^fit needs an optimizer: call model\.compile\("):
        MaskRCNN(tiny_config).fit(*batch, verbose=0)


def test_each_way_into_the_model_refuses_a_label_that_it_does_not_know(quick, batch):
    inputs, gt = batch
    inputs["proposals"] = np.zeros((2, 5, 4), np.float32)
    bad = inputs, {**gt, "labels": np.where(gt["labels"] > 0, np.int32(4), 0)}
    late = tf.data.Dataset.from_tensors((inputs, gt)).concatenate(tf.data.Dataset.from_tensors(bad))
    line = r"^labels must be in 1..3, 0 in padding. Received: label=\[4\].$"
    before = quick.mask_head.get_weights()
    for method, arguments in (
        (quick.fit, bad),
        (quick.evaluate, bad),
        (quick.train_on_batch, bad),
        (quick.test_on_batch, bad),
        (quick.fit, [tf.data.Dataset.from_tensors(bad)]),
        (quick.evaluate, [late]),
    ):
        with pytest.raises(ValueError, match=line):
            method(*arguments)
    with pytest.raises(ValueError, match=line):
        quick.fit(inputs, gt, validation_data=bad)
    assert all(
        np.array_equal(a, b) for a, b in zip(before, quick.mask_head.get_weights(), strict=True)
    )
    quick.fit(inputs, gt, verbose=0, shuffle=False)
    assert not np.array_equal(before[0], quick.mask_head.get_weights()[0])


def test_each_way_into_the_model_refuses_images_of_0_to_1(quick, batch):
    inputs, gt = batch
    inputs["proposals"] = np.zeros((2, 5, 4), np.float32)
    wrong = {**inputs, "images": inputs["images"] / 255}
    one = tf.data.Dataset.from_tensors
    for method, arguments in (
        (quick.predict, [wrong]),
        (quick.predict_on_batch, [wrong]),
        (quick.predict, [one(wrong)]),
        (quick.fit, [wrong, gt]),
        (quick.fit, [one((wrong, gt))]),
        (quick.evaluate, [wrong, gt]),
        (quick.train_on_batch, [wrong, gt]),
    ):
        with pytest.raises(ValueError, match=r"^images must be RGB in 0..255, not in 0..1"):
            method(*arguments)
    with pytest.raises(ValueError, match="^images must be RGB in 0..255, not in 0..1"):
        quick.fit(inputs, gt, validation_data=one((wrong, gt)), verbose=0)


def test_training_without_a_sentinel_refuses_pixels_that_are_not_finite(quick, batch):
    inputs, gt = batch
    inputs["proposals"] = np.zeros((2, 5, 4), np.float32)
    wrong = {**inputs, "images": inputs["images"] * np.float32(np.nan)}
    data = tf.data.Dataset.from_tensors((wrong, gt))
    for method, arguments in (
        (quick.fit, [wrong, gt]),
        (quick.fit, [data]),
        (quick.train_on_batch, [wrong, gt]),
    ):
        with pytest.raises(ValueError, match="^pixels must be finite. Received: dtype=float32"):
            method(*arguments)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    "callback",
    [keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LearningRateScheduler(lambda epoch: 1.0)],
)
def test_callbacks_that_would_set_the_rate_of_a_schedule_are_refused(callback, scaled, quick):
    optimizer = mrcnn.training.sgd(0.01, warmup_steps=5)
    quick.compile(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)
    line = f"^{type(callback).__name__} sets the .* Received: learning_rate=WarmupSteps.$"
    with pytest.raises(ValueError, match=line):
        quick.fit(callbacks=[keras.callbacks.History(), callback])


def test_a_direction_that_keras_cannot_guess_is_asked_for_before_the_first_epoch(quick):
    ap = "val_segm/AP"
    quick.compile(mrcnn.training.SGD(0.01))
    for callback in (
        keras.callbacks.EarlyStopping(ap),
        keras.callbacks.ReduceLROnPlateau(ap),
        keras.callbacks.ModelCheckpoint("best.keras", ap, save_best_only=True),
    ):
        with pytest.raises(ValueError, match=f"{type(callback).__name__} needs mode=.*'{ap}'"):
            quick.fit(callbacks=[callback])
    with pytest.raises(KeyError):  # Keras has no data; the callbacks pass our check
        quick.fit(
            callbacks=[
                keras.callbacks.EarlyStopping(),
                keras.callbacks.EarlyStopping(ap, mode="max"),
                keras.callbacks.ModelCheckpoint("every.keras", ap),
            ]
        )


def test_prediction_refuses_what_is_not_finite_in_any_batch(quick, batch):
    inputs = {**batch[0], "proposals": np.zeros((2, 5, 4), np.float32)}
    many = {name: np.concatenate([value] * 8) for name, value in inputs.items()}
    for name in ("images", "proposals"):
        last = many[name].copy()
        last[-1, -1] = np.nan
        with pytest.raises(ValueError, match="^(pixels|proposals) must be finite. Received"):
            quick.predict({**many, name: last}, batch_size=2, verbose=0)
    assert quick.predict(many, batch_size=2, verbose=0)["scores"].shape == (16,)
    with pytest.raises(ValueError, match=r"^inputs lack \['original_sizes'\]"):
        quick.predict({k: v for k, v in inputs.items() if k != "original_sizes"}, verbose=0)
    with pytest.raises(
        ValueError, match=r"^predict needs at least one batch. Received: an empty data set.$"
    ):
        quick.predict(tf.data.Dataset.from_tensors(inputs).take(0), verbose=0)


def test_what_keras_would_ignore_is_refused(quick, batch):
    with pytest.raises(ValueError, match="its own losses .* Received: loss='mse', metrics=.'acc"):
        quick.compile("sgd", loss="mse", metrics=["acc"])
    with pytest.raises(ValueError, match="Received: metrics=.{1,250}$"):
        quick.compile("sgd", metrics=["a long name of a metric"] * 50)
    for method in (quick.fit, quick.train_on_batch):
        with pytest.raises(ValueError, match="images cannot be weighted. Received: class_weight."):
            method(*batch, class_weight={1: 2.0})


def test_a_file_that_was_compiled_with_a_loss_loads(tiny_config, tmp_path):
    model = MaskRCNN(tiny_config)
    keras.Model.compile(model, mrcnn.training.sgd(0.25, warmup_steps=0), loss="mse")  # version 0.1
    model.save(tmp_path / "old.keras")
    loaded = keras.models.load_model(tmp_path / "old.keras")
    assert loaded.optimizer.learning_rate == 0.25 and loaded.optimizer.built


def test_fit_evaluate_and_predict_tell_it(quick, caplog):
    caplog.set_level("WARNING", logger="absl")
    made = batches(quick.config, min_side=32).map(
        lambda x, y: ({**x, "proposals": tf.zeros([2, 5, 4])}, y)
    )
    right = batches(quick.config).map(lambda x, y: ({**x, "proposals": tf.zeros([2, 5, 4])}, y))
    quick.fit(right, validation_data=right, verbose=0, shuffle=False)
    assert not told(caplog)
    quick.fit(right, validation_data=made, verbose=0, shuffle=False)
    quick.evaluate(made, verbose=0)
    quick.predict(made, verbose=0)
    found = told(caplog)
    assert [line.split(": the batches")[0] for line in found] == [
        "fit: validation_data",
        "evaluate",
        "predict",
    ]
    assert found[1] == (
        "evaluate: the batches were resized differently than the model resizes (min_side=64); make "
        "them with data.batches(..., **model.config.resizing()). Received: min_side=32."
    )


@pytest.mark.usefixtures("eager")
def test_frozen_random_layers_are_told_until_weights_are_loaded(quick, batch, caplog):
    caplog.set_level("WARNING", logger="absl")
    inputs = {**batch[0], "proposals": np.zeros((2, 5, 4), np.float32)}

    def lines(**config):
        model = MaskRCNN(dataclasses.replace(quick.config, **config))
        return mrcnn.weights.untrained.advice(model.networks)

    assert lines(norm="batch") == lines(norm="group", fpn_channels=32) == ""
    assert lines(frozen_stages=2, norm="group").startswith(
        "backbone:stem, backbone:res2 are frozen with random weights: no weights"
    )
    assert lines(norm="frozen_batch").startswith(
        "the frozen batch norm of backbone is the identity"
    )
    model = MaskRCNN(dataclasses.replace(quick.config, frozen_stages=2, norm="frozen_batch"))
    model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    model.fit(inputs, batch[1], epochs=2, verbose=0)
    found = told(caplog)
    assert len(found) == 1 and found[0].startswith(
        "fit: backbone:stem, backbone:res2 are frozen with random weights, and the frozen "
        "batch norm of backbone is the identity: no weights were loaded."
    )
    for variable in model.backbone.weights:
        if "norm" in variable.path:
            variable.assign(variable + 0.1)
    model.fit(inputs, batch[1], verbose=0)
    assert len(told(caplog)) == 1
