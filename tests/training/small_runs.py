"""Small models, their batches, and ways to interrupt a run, for the tests of backups."""

import os
import signal

import keras
import numpy as np
import tensorflow as tf

EPOCH = 4  # steps


class Killed(Exception):
    """Replaces kill -9 in the tests; Backup cannot react to it."""


class After(keras.callbacks.Callback):
    """Calls a function after a number of steps, counted from the start of the run."""

    def __init__(self, step, function):
        super().__init__()
        self.step, self.function = step, function

    def on_epoch_begin(self, epoch, logs=None):
        self.before = epoch * EPOCH

    def on_train_batch_end(self, batch, logs=None):
        if self.before + batch + 1 == self.step:
            self.function()


class AtEpochEnd(keras.callbacks.Callback):
    def __init__(self, epoch, function):
        super().__init__()
        self.epoch, self.function = epoch, function

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.function()


def kill():
    raise Killed


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def simple_model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")])
    model.compile("sgd", loss="mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    return model


def fit(backup, model=None, first=()):
    """Trains a small model for an epoch."""
    (model or simple_model()).fit(
        batches(backup.step),
        epochs=1,
        steps_per_epoch=EPOCH,
        verbose=0,
        shuffle=False,
        callbacks=[*first, backup],
    )


def batches(first_step):
    """13 batches, repeated; epochs of 4 steps therefore differ."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(13, 2, 3)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((x, x[..., :1])).repeat().skip(first_step)
