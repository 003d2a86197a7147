"""Callbacks that report on a run: its speed, the time left, pictures, and a line per epoch."""

import os
import time

import keras
import tensorflow as tf

from keras_maskrcnn import distribution, visualize
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.detections import predict_image
from keras_maskrcnn.ops.python import numpy_function
from keras_maskrcnn.steps import Step, StepHook
from keras_maskrcnn.training.callbacks import steps_taken
from keras_maskrcnn.typing import Path, Tensors

# What an epoch's line shows in addition to the losses. Of the validation, it shows all names that
# end in one of these.
_SHOWN = (
    "proposal_recall",
    "foreground_share",
    "learning_rate",
    "skipped_steps",
    "val_loss",
    "AP",
    "AP50",
    "AR1000",
)


class Throughput(StepHook, keras.callbacks.Callback):
    """Adds learning rate, speed and waiting time to the logs of an epoch.

    Make it the first callback, so that the others see its values:

    - `learning_rate`, at the end of the epoch: that of the next step;
    - `images_per_second`, of all replicas;
    - `waiting`, the share of the time in which no batch was ready.

    Validation does not count. Nor does the first step of `fit`, because TensorFlow traces the model
    in it.
    """

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Marks the first step as not seen yet; it is not counted."""
        self._traced = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts to count the images and the time."""
        self._images, self._seconds, self._waited = 0, 0.0, 0.0
        self._end = time.perf_counter()

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Notes when the wait for a batch begins."""
        self._begin, self._rows = time.perf_counter(), 0
        self._arrival: float | None = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Adds up the step. There may be none, because a resumed run skips batches."""
        before, self._end = self._end, time.perf_counter()
        if self._arrival is None:
            return
        if self._traced:
            self._images += self._rows
            self._seconds += self._end - before
            self._waited += self._arrival - self._begin
        self._traced = True

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Writes into `logs`, which Keras passes to the next callback."""
        if logs is None:
            return
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self._seconds:
            workers = distribution.worker(self.model.distribute_strategy)[1]
            logs["images_per_second"] = self._images * workers / self._seconds
            logs["waiting"] = self._waited / self._seconds

    def around_step(
        self, step: Step, inputs: Tensors, gt: Tensors
    ) -> tuple[Tensors, tf.Tensor | bool]:
        """Notes when the batch has arrived.

        Keras takes a batch and trains on it in a single call, so callbacks cannot see this.
        """
        numpy_function(self._note, [tf.shape(inputs["sizes"])[0]], [])
        return step(inputs, gt)

    def _note(self, rows):
        self._arrival = self._arrival or time.perf_counter()
        self._rows += int(rows)


class TimeLeft(keras.callbacks.Callback):
    """Prints how long `fit` will take: after its first steps, and before each later epoch.

    The times are those of this run so far. Before the first validation only the steps are known,
    so the first line says "at least". The first step does not count, because TensorFlow traces the
    model in it.
    """

    first_steps = 10  # steps that the first line is computed from

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts with nothing measured."""
        self._steps, self._seconds = 0, 0.0  # measured steps, and their time
        self._pauses, self._paused = 0, 0.0  # what happens between epochs, mainly validation
        self._traced, self._batch, self._end = False, 0, 0.0
        self._taken = steps_taken(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints the line, except in the first epoch."""
        now = time.perf_counter()
        if self._batch:
            self._pauses += 1
            self._paused += now - self._end
            self._print(self._batch, epoch, 0)
        self._epoch, self._end = epoch, now

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Measures a step. A resumed run skips batches, which take no step."""
        taken, now = steps_taken(self.model.optimizer), time.perf_counter()
        if taken > self._taken:
            if self._traced:
                early = self._steps < self.first_steps
                self._steps += taken - self._taken
                self._seconds += now - self._end
                if early and self._steps >= self.first_steps and not self._pauses:
                    self._print(self.params["steps"], self._epoch, batch + 1)
            self._traced = True
        self._taken, self._end, self._batch = taken, now, batch + 1

    def _print(self, per_epoch, epoch, batches):
        """Prints the time left, if it is known, after some batches of an epoch."""
        if per_epoch is None or not self._steps:
            return
        epochs = self.params["epochs"] - epoch
        left = (epochs * per_epoch - batches) * self._seconds / self._steps
        if self._pauses:
            left += epochs * self._paused / self._pauses
        if batches and self.params["verbose"] == 1:
            print()  # Keras' bar has begun a line
        about = "about" if self._pauses else "at least"
        print(f"training: {about} {_duration(left)} left", flush=True)


def _duration(seconds):
    """Returns a time in words: 85 s, 12 min, 3 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Pictures(keras.callbacks.Callback):
    """Writes pictures of predictions and the model's graph for TensorBoard.

    It draws the model's detections on the same images after each epoch. Use it in addition to
    keras.callbacks.TensorBoard.

    Args:
        folder: str. The same as that of keras.callbacks.TensorBoard.
        dataset: data.CocoDataset.
        count: int. Number of images to draw, from the first.
        every: int. Epochs between two drawings.
        score_threshold: float. Detections with a lower score are not drawn.
        write: bool. False in workers that only predict. All workers must predict, and one writes.

    Raises:
        ValueError: if `count` or `every` is not positive; from `fit`, if the model cannot detect
            without given proposals or has no heads.
    """

    def __init__(
        self,
        folder: Path,
        dataset: CocoDataset,
        count: int = 4,
        every: int = 1,
        score_threshold: float = 0.5,
        write: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("count", count), ("every", every)):
            if value < 1:
                raise ValueError(f"{name} must be positive. Received: {name}={value}.")
        self.folder, self.dataset, self.every = os.path.join(folder, "validation"), dataset, every
        self.indices = range(min(count, len(dataset)))
        self.score_threshold, self.write = score_threshold, write

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Writes the graph of the forward pass."""
        if not self.write:
            return
        config = self.model.config
        side = config.padding_multiple * 4
        images = tf.TensorSpec([None, side, side, config.in_channels], config.image_dtype)
        forward = tf.function(self.model.call).get_concrete_function(images)
        self._writer = tf.summary.create_file_writer(self.folder)
        with self._writer.as_default():
            tf.summary.graph(forward.graph)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draws the detections."""
        if (epoch + 1) % self.every:
            return
        names, pictures = [], []
        for index in self.indices:
            name = self.dataset.file_names[index]
            if name in self.dataset.skipped:  # CocoEvaluation could not read it
                continue
            names.append(name)
            image = self.dataset.load_image(index)
            found = predict_image(self.model, image, score_threshold=self.score_threshold)
            pictures.append(
                visualize.draw(
                    image,
                    found,
                    score_threshold=self.score_threshold,
                    stretch=visualize.default_stretch(self.model.config.image_dtype),
                )
            )
        if self.write and pictures:
            drawn = visualize.grid(pictures, columns=2, titles=names)
            with self._writer.as_default(step=epoch):
                tf.summary.image("predictions", drawn[None])

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes TensorBoard's file."""
        if self.write:
            self._writer.close()


class EpochLine(keras.callbacks.Callback):
    """Prints a line at the end of each epoch, for logs in files. Use it with verbose=0 in `fit`.

    Put it after CocoEvaluation in the list of callbacks. The line shows AP, AP50 and AR1000 of the
    validation; History has all numbers. docs/training.md shows a line.
    """

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Prints the line."""
        logs, step = logs or {}, steps_taken(self.model.optimizer)
        terms = ", ".join(f"{name} {logs[name]:.4f}" for name in self.model.loss_names)
        parts = [f"loss {logs['loss']:.4f} ({terms})"]
        for name, value in logs.items():
            if name in _SHOWN or name.startswith("val_") and name.split("/")[-1] in _SHOWN:
                parts.append(f"{name} {value:.4g}")
        if "waiting" in logs:
            parts.append(f"{logs['images_per_second']:.3g} images/s, waiting {logs['waiting']:.0%}")
        line = f"epoch {epoch + 1}/{self.params['epochs']}, step {step}: {', '.join(parts)}"
        print(line, flush=True)
