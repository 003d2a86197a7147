"""A run that never ends, for test_kills.py: python endless_run.py FOLDER EVERY.

It writes the number of steps into FOLDER/reported after each step, before the backup. At its start,
it writes the step from which it continues into FOLDER/began.
"""

import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn.training import Backup


class Report(keras.callbacks.Callback):
    def __init__(self, path, step):
        super().__init__()
        self.file, self.step = os.open(path, os.O_RDWR | os.O_CREAT), step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) > self.step:  # else the backup has this step
            self.step += 1
            os.pwrite(self.file, self.step.to_bytes(8, "little"), 0)


folder, every = pathlib.Path(sys.argv[1]), int(sys.argv[2])
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(4096), keras.layers.Dense(1)])
model.compile("adam", loss="mse")
model.optimizer.build(model.trainable_variables)
backup = Backup(folder / "backup", every, resume=True)
(folder / "began").write_text(str(backup.step))
x = np.random.default_rng(0).normal(size=(7, 2, 64)).astype(np.float32)
batches = tf.data.Dataset.from_tensor_slices((x, x[..., :1])).repeat().skip(backup.step)
model.fit(
    batches,
    epochs=10**6,
    initial_epoch=backup.epoch,
    steps_per_epoch=50,
    shuffle=False,
    verbose=0,
    callbacks=[Report(folder / "reported", backup.step), backup],
)
