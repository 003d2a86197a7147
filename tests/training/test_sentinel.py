"""A step that is not finite changes nothing, and a message names its cause."""

import contextlib
import dataclasses
import functools
import gc
import itertools
import types
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from keras_maskrcnn import DataError, training
from keras_maskrcnn.model import SHARES, MaskRCNN

FILES = types.SimpleNamespace(file_names=("a.png", "b.png", "c.png", "d.png"))


def batches(batch, *changes):
    """Batches of images a and b, or of c and d; a value of image d is not finite."""
    found = []
    for change in changes:
        inputs, gt = ({name: x.copy() for name, x in part.items()} for part in batch)
        inputs["indices"] = np.int32([0, 1] if change is None else [2, 3])
        if change == "image":
            inputs["images"][1, 5, 7, 0] = np.nan
        if change == "box":
            gt["boxes"][1, 0, 2] = np.inf
        found.append(tf.data.Dataset.from_tensor_slices((inputs, gt)))
    return functools.reduce(tf.data.Dataset.concatenate, found).batch(2, drop_remainder=True)


class Spoil(keras.callbacks.Callback):
    """Calls one function before a batch and another after it, and keeps all variables' values."""

    def __init__(self, functions=None):
        super().__init__()
        self.functions, self.kept = functions or {}, []

    def on_train_batch_begin(self, batch, logs=None):
        if batch in self.functions:
            self.functions[batch][0]()

    def on_train_batch_end(self, batch, logs=None):
        if batch in self.functions:
            self.functions[batch][1]()
        model = self.model
        shares = [v for name in SHARES for v in model.trackers[name].variables]
        variables = [*model.weights, *model.optimizer.variables, *shares]
        self.kept.append([np.array(v) for v in variables])

    def steps(self):
        """Returns whether each batch after the first changed anything."""
        pairs = itertools.pairwise(self.kept)
        return [any(np.any(a != b) for a, b in zip(*pair, strict=True)) for pair in pairs]


def compiled(config, optimizer, scope=None, dtype=None):
    with scope or contextlib.nullcontext():
        model = MaskRCNN(config, dtype=dtype)
        model.compile(optimizer())
    return model


def test_each_cause_is_named_and_its_step_left_out(tiny_config, batch, caplog):
    """AdamW with a running average would change all weights even at gradients of zero."""
    model = compiled(tiny_config, lambda: keras.optimizers.AdamW(1e-4, use_ema=True))
    bias, rate = model.mask_head.trainable_variables[-1], model.optimizer.learning_rate
    start = []

    def overflow():
        start.append(np.array(bias))
        bias.assign(np.full(bias.shape, 3e38))

    changes = {
        3: (lambda: rate.assign(np.nan), lambda: rate.assign(1e-4)),
        4: (overflow, lambda: bias.assign(start[0])),
    }
    spoil = Spoil(changes)
    data = batches(batch, None, "image", "box", "rate", "loss", None)
    sentinel = training.Sentinel("skip", FILES)
    history = model.fit(data, verbose=0, shuffle=False, callbacks=[spoil, sentinel]).history
    lines = [record.getMessage() for record in caplog.records if record.name == "absl"]
    assert lines[:3] == [
        "skipped epoch 1, step 2: pixels must be finite. Received: images=['d.png'].",
        "skipped epoch 1, step 3: boxes must be finite. Received: images=['d.png'].",
        "skipped epoch 1, step 4: learning rate must be finite. "
        "Received: learning_rate=nan, images=['c.png', 'd.png'].",
    ]
    assert lines[3].startswith("skipped epoch 1, step 5: losses must be finite. Received: mask=")
    assert lines[4:] == [
        "epoch 1: skipped 4 steps, of d.png (4), c.png (2).",
        "skipped 4 of 6 steps: the model is trained less than it seems.",
    ]
    assert spoil.steps() == [False, False, False, False, True]
    assert history["skipped_steps"] == [4]
    assert np.isfinite(history["loss"]) and model.optimizer.iterations == 2


@pytest.mark.usefixtures("eager")
def test_statistics_of_a_backbone_from_outside_survive_a_skipped_step(tiny_config, batch):
    """The config's norm says nothing about it."""
    x = images = keras.Input((None, None, 3))
    maps = {}
    for level, stride in (("c2", 4), ("c3", 2), ("c4", 2), ("c5", 2)):
        x = keras.layers.Conv2D(8, 3, stride, padding="same")(x)
        x = maps[level] = keras.layers.BatchNormalization()(x)
    config = dataclasses.replace(tiny_config, norm="frozen_batch")
    model = MaskRCNN(config, backbone=keras.Model(images, maps))
    model.compile(training.sgd(0.01, warmup_steps=0))
    spoil = Spoil()
    model.fit(
        batches(batch, None, "image"),
        verbose=0,
        shuffle=False,
        callbacks=[spoil, training.Sentinel("skip", FILES)],
    )
    assert spoil.steps() == [False]
    assert all(np.isfinite(v).all() for v in model.get_weights())


@pytest.mark.usefixtures("quick_losses")
def test_stop_ends_the_run_before_the_step(tiny_config, batch):
    model = compiled(tiny_config, lambda: training.sgd(0.01, warmup_steps=0))
    line = r"^epoch 1, step 2: pixels must be finite. Received: images=\[3\].$"
    with pytest.raises(DataError, match=line):
        model.fit(
            batches(batch, None, "image", None),
            verbose=0,
            shuffle=False,
            callbacks=[training.Sentinel()],
        )
    assert model.optimizer.iterations == 1
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    with pytest.raises(ValueError, match="^pixels must be finite. Received: dtype=float32"):
        model.fit(batches(batch, "image"), verbose=0, shuffle=False)  # the image is not known here
    assert model.optimizer.iterations == 1


@pytest.mark.usefixtures("eager")
def test_weights_that_are_not_finite_end_the_run_in_any_case(tiny_config, batch):
    model = compiled(tiny_config, lambda: training.sgd(0.01, warmup_steps=0))
    bias = model.mask_head.trainable_variables[-1]
    bias.assign(np.full(bias.shape, np.nan))
    with pytest.raises(ValueError, match="step 1: weights must be finite. Received: mask=nan, "):
        model.fit(*batch, batch_size=2, verbose=0, callbacks=[training.Sentinel("skip")])


@pytest.mark.usefixtures("quick_losses")
def test_one_replica_s_image_stops_the_step_of_all(tiny_config, batch, two_devices, caplog):
    model = compiled(tiny_config, lambda: training.sgd(0.01, warmup_steps=0), two_devices.scope())
    spoil, sentinel = Spoil(), training.Sentinel("skip", FILES)
    model.fit(
        batches(batch, None, "image", None), verbose=0, shuffle=False, callbacks=[spoil, sentinel]
    )
    assert spoil.steps() == [False, True]
    assert "epoch 1: skipped 1 steps, of d.png (1)." in caplog.text
    # In another training loop, the optimizer sums the replicas' gradients as Keras does.
    assert "_all_reduce_sum_gradients" not in vars(model.optimizer)
    # After training, the process keeps nothing of it, although TensorFlow called Python.
    left = [weakref.ref(x) for x in (model, model.optimizer, sentinel)]
    before = len(ops.gradient_registry.list())
    del model, spoil, sentinel
    gc.collect()
    assert [x() for x in left] == [None] * 3
    assert len(ops.gradient_registry.list()) < before


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("eager")
def test_an_overflow_of_scaled_gradients_is_left_to_the_loss_scale(
    tiny_config, batch, two_devices, devices, caplog
):
    scope = two_devices.scope() if devices == 2 else contextlib.nullcontext()
    model = compiled(tiny_config, lambda: keras.optimizers.SGD(0.01), scope, "mixed_float16")
    model.make_train_function()
    model.optimizer.dynamic_scale.assign(2.0**30)
    sentinel = training.Sentinel("skip", FILES)
    model.fit(batches(batch, None, "image"), verbose=0, shuffle=False, callbacks=[sentinel])
    assert model.optimizer.dynamic_scale == 2.0**29 and model.optimizer.iterations == 0
    assert "skipped 1 steps, of d.png (1)" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.usefixtures("eager")
def test_a_proposal_that_is_not_finite_is_named(tiny_config, batch, value):
    inputs, gt = batch
    proposals = np.zeros((2, 40, 4), np.float32)
    proposals[:, :3] = gt["boxes"]
    proposals[1, 0, 2] = value
    config = dataclasses.replace(tiny_config, proposals="precomputed")
    model = compiled(config, lambda: training.sgd(0.01, warmup_steps=0))
    line = r"step 1: proposals must be finite. Received: images=\['number 2 of the batch'\].$"
    with pytest.raises(DataError, match=line):
        model.fit(
            {**inputs, "proposals": proposals},
            gt,
            batch_size=2,
            verbose=0,
            shuffle=False,
            callbacks=[training.Sentinel()],
        )


def test_steps_that_callbacks_do_not_see_are_refused(tiny_config, batch):
    model = MaskRCNN(tiny_config)
    model.compile(training.sgd(), steps_per_execution=2)
    with pytest.raises(ValueError, match="every step. Received: steps_per_execution=2"):
        model.fit(batches(batch, None), callbacks=[training.Sentinel()], verbose=0, shuffle=False)


def run(sentinel, steps):
    """A `fit` with epochs of 4 steps; a step "x" has pixels that are not finite."""
    strategy = tf.distribute.get_strategy()
    sentinel.set_model(types.SimpleNamespace(distribute_strategy=strategy))
    sentinel.on_train_begin()
    for step, found in enumerate(steps):
        if not step % 4:
            sentinel.on_epoch_begin(step // 4)
        if found == "x":
            sentinel._found.append(("pixels", "", ["a.png"]))
        sentinel.on_train_batch_end(step % 4)
    sentinel.on_train_end()


def test_steps_in_a_row_that_are_not_finite_end_the_run(caplog):
    line = (
        r"^3 steps in a row are not finite. The last, epoch 2, step 2: pixels must be finite. "
        r"Received: images=\['a.png'\].$"
    )
    with pytest.raises(DataError, match=line):
        run(training.Sentinel("skip", FILES, patience=3), ".x.xxx....")
    run(training.Sentinel("skip", FILES, patience=3), "xx.x.xx.")
    assert caplog.records[-1].getMessage().startswith("skipped 5 of 8 steps: the model is trained")
    with pytest.raises(DataError, match="10 steps in a row"):  # the default
        run(training.Sentinel("skip", FILES), "." + "x" * 11)
    with pytest.raises(ValueError, match="none of 9 steps was finite: nothing was trained"):
        run(training.Sentinel("skip", FILES), "x" * 9)
    caplog.clear()
    run(training.Sentinel("skip", FILES), "x.")
    assert not any("trained less" in record.getMessage() for record in caplog.records)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="one of stop, skip. Received: on_nonfinite='warn'"):
        training.Sentinel("warn")
    with pytest.raises(ValueError, match="patience must be positive. Received: patience=0"):
        training.Sentinel("skip", patience=0)
