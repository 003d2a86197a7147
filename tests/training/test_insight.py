"""What a run logs, draws and prints; and running averages, which Keras makes."""

import itertools
import signal
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_maskrcnn import targets, training
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.training import insight


class OneImage:
    """Replaces a data set, for pictures."""

    file_names = ("a.png",)
    skipped = {}

    def __len__(self):
        return 1

    def load_image(self, index):
        return np.full((64, 96, 3), 90, np.uint8)


def slow_batches(batch, count, seconds):
    """Returns a data set of batches that each take this long to arrive."""

    def wait(index):
        time.sleep(seconds)
        return index

    data = tf.data.Dataset.range(count)
    data = data.map(lambda i: tf.numpy_function(wait, [i], tf.int64))
    return data.map(lambda i: batch)


@pytest.fixture(scope="module")
def settable(tiny_config):
    """A model whose rate callbacks can set, with a running average of its weights."""
    keras.utils.set_random_seed(0)
    model = MaskRCNN(tiny_config)
    model.compile(training.SGD(0.01, use_ema=True, ema_momentum=0.5))
    return model


class Value(keras.callbacks.Callback):
    """Keeps a bias at the end of each epoch, and its expected average with momentum 0.5."""

    def __init__(self):
        super().__init__()
        self.average, self.values, self.expected = None, [], []

    def on_train_batch_end(self, batch, logs=None):
        value = np.array(self.model.mask_head.trainable_variables[-1])
        self.average = value if self.average is None else (self.average + value) / 2

    def on_epoch_end(self, epoch, logs=None):
        self.values.append(np.array(self.model.mask_head.trainable_variables[-1]))
        self.expected.append(self.average)


@pytest.mark.usefixtures("quick_losses")
def test_all_that_a_run_reports(settable, batch, tmp_path, capsys):
    value = Value()
    data = slow_batches(tf.nest.map_structure(tf.constant, batch), 3, 0.3)
    history = settable.fit(
        data,
        epochs=2,
        verbose=0,
        shuffle=False,
        validation_data=data.take(1),
        callbacks=[
            training.Throughput(),
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            value,
            keras.callbacks.ModelCheckpoint(tmp_path / "last.weights.h5", save_weights_only=True),
            training.Pictures(tmp_path, OneImage(), score_threshold=0.0),
            keras.callbacks.ReduceLROnPlateau("val_loss", 0.5, patience=1, min_delta=1e6),
            keras.callbacks.TensorBoard(tmp_path, write_graph=False),
            training.EpochLine(),
        ],
    ).history
    shares = ("proposal_recall", "foreground_share", "val_proposal_recall", "waiting")
    assert all(0 <= share <= 1 for name in shares for share in history[name])
    assert np.isfinite(history["val_loss"]).all()
    # The plateau is seen after the second epoch.
    assert history["learning_rate"] == pytest.approx([0.01, 0.01])
    assert float(settable.optimizer.learning_rate) == pytest.approx(0.005)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("epoch 1/2, step 3: loss ") and "val_loss" in first
    assert "images/s, waiting" in second
    # Callbacks after SwapEMAWeights see the average, and the average is saved at the end.
    np.testing.assert_allclose(value.values, value.expected, rtol=1e-4, atol=1e-7)
    saved = settable.get_weights()
    settable.load_weights(tmp_path / "last.weights.h5")
    for ours, theirs in zip(saved, settable.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    events = EventAccumulator(str(tmp_path / "validation")).Reload()
    assert events.Graph().node
    assert {"epoch_loss", "epoch_proposal_recall"} <= set(events.Tags()["tensors"])
    pictures = events.Tensors("predictions")
    assert [event.step for event in pictures] == [0, 1]


class Clock(keras.callbacks.Callback):
    """Lets each step take 2 s, the first 50 s, and the end of an epoch 30 s."""

    def __init__(self):
        super().__init__()
        self.now, self.first = 0.0, True

    def on_train_batch_begin(self, batch, logs=None):
        self.now += 50.0 if self.first else 2.0
        self.first = False

    def on_epoch_end(self, epoch, logs=None):
        self.now += 30.0


@pytest.mark.parametrize(
    ("epochs", "steps", "lines"),
    [
        # 1 + 10 of 40 steps: 29 * 2 s. Then 20 steps and the end of the epoch.
        (2, 20, ["at least 58 s", "about 70 s"]),
        # Without ten steps there is no line in the first epoch. 2 * (3 * 2 s + 30 s), then half.
        (3, 3, ["about 72 s", "about 36 s"]),
        # 9989 * 2 s.
        (1, 10_000, ["at least 5 h 33 min"]),
        (1, 3, []),
    ],
)
def test_the_time_left_is_computed_from_the_steps_and_what_follows_them(
    epochs, steps, lines, monkeypatch, capsys
):
    clock, left, optimizer = Clock(), training.TimeLeft(), types.SimpleNamespace()
    monkeypatch.setattr(insight.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(insight, "steps_taken", lambda _: optimizer.taken)
    optimizer.taken = 100  # of an earlier fit
    callbacks = keras.callbacks.CallbackList(
        [clock, left],
        model=types.SimpleNamespace(optimizer=optimizer),
        epochs=epochs,
        steps=steps,
        verbose=0,
    )
    callbacks.on_train_begin()
    for epoch in range(epochs):
        callbacks.on_epoch_begin(epoch)
        for batch in range(steps):
            callbacks.on_train_batch_begin(batch)
            optimizer.taken += 1
            callbacks.on_train_batch_end(batch)
        callbacks.on_epoch_end(epoch)
    assert capsys.readouterr().out.splitlines() == [f"training: {line} left" for line in lines]


def test_batches_that_a_resumed_run_skips_are_not_measured(monkeypatch, capsys):
    clock, left, optimizer = Clock(), training.TimeLeft(), types.SimpleNamespace(taken=5)
    monkeypatch.setattr(insight.time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(insight, "steps_taken", lambda _: optimizer.taken)
    left.set_model(types.SimpleNamespace(optimizer=optimizer))
    left.set_params({"epochs": 1, "steps": 30, "verbose": 1})
    left.on_train_begin()
    left.on_epoch_begin(0)
    for batch in range(20):
        if batch >= 5:
            clock.on_train_batch_begin(batch)
            optimizer.taken += 1
        left.on_train_batch_end(batch)
    # 5 skipped, 1 traced and 10 measured of 30 batches. The line comes after Keras' bar.
    assert capsys.readouterr().out == "\ntraining: at least 28 s left\n"


def test_a_run_that_failed_leaves_nothing_behind(settable, batch, tmp_path):
    def fail(*_):
        raise ZeroDivisionError

    before = signal.getsignal(signal.SIGTERM)
    settable.make_train_function()
    for average in settable.optimizer._model_variables_moving_average:
        average.assign(np.full(average.shape, 7.0))
    weights = settable.get_weights()
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    swap.set_model(settable)
    swap.set_params({"epochs": 2})
    swap.on_epoch_end(0)  # and then something fails, before the next epoch begins
    assert np.all(settable.mask_head.trainable_variables[-1] == 7.0)
    callbacks = [
        swap,
        training.Sentinel(),
        training.Throughput(),
        training.Backup(tmp_path),
        keras.callbacks.LambdaCallback(on_train_begin=fail),
    ]
    with pytest.raises(ZeroDivisionError):
        settable.fit(*batch, batch_size=2, callbacks=callbacks, verbose=0)
    for ours, theirs in zip(settable.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)  # Keras swaps by sums, which round
    assert settable.step_hooks == ()
    assert signal.getsignal(signal.SIGTERM) == before
    assert list(tmp_path.iterdir()) == []  # nor the lock


def test_pace_leaves_out_the_traced_step_and_the_time_between_epochs(monkeypatch):
    model = types.SimpleNamespace(
        optimizer=types.SimpleNamespace(learning_rate=0.1),
        distribute_strategy=tf.distribute.get_strategy(),
    )
    throughput = training.Throughput()
    throughput.set_model(model)
    throughput.on_train_begin()

    def epoch(start, *steps):
        ticks = iter([start, *itertools.chain.from_iterable(steps)])
        clock = types.SimpleNamespace(perf_counter=lambda: next(ticks))
        monkeypatch.setattr(insight, "time", clock)
        logs = {}
        throughput.on_epoch_begin(0)
        for i in range(len(steps)):
            throughput.on_train_batch_begin(i)
            throughput._note(2)
            throughput.on_train_batch_end(i)
        throughput.on_epoch_end(0, logs)
        return logs

    # The three times of a step: it starts to wait, gets its batch, and ends.
    assert epoch(0, (1, 3, 100)) == {"learning_rate": 0.1}
    expected = {"learning_rate": 0.1, "images_per_second": 4 / 10, "waiting": 2.5 / 10}
    assert epoch(200, (200, 202, 204), (205, 205.5, 210)) == expected


def test_recall_counts_boxes_that_a_proposal_overlaps_by_half():
    proposals = tf.constant([[[0, 0, 10, 5], [20, 20, 30, 24], [0, 0, 0, 0]]], tf.float32)
    boxes = tf.constant([[[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0]]], tf.float32)
    np.testing.assert_array_equal(targets.recalled(proposals, boxes), [[True, False, False]])


def test_replicas_do_not_accumulate(tiny_config, two_devices):
    with two_devices.scope():
        model = MaskRCNN(tiny_config)
        model.compile(training.Recipe(10, accumulate_steps=2).optimizer())
    with pytest.raises(ValueError, match="Received: gradient_accumulation_steps=2"):
        model.make_train_function()


@pytest.mark.parametrize("argument", ["count", "every"])
def test_arguments_of_pictures_are_checked(argument):
    with pytest.raises(ValueError, match=f"{argument} must be positive. Received: {argument}=0"):
        training.Pictures("logs", OneImage(), **{argument: 0})
