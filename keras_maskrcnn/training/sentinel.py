"""Stops at a step that is not finite, or skips it, and names the cause."""

import collections
import functools
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import distribution
from keras_maskrcnn.data import DataError
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.ops.python import numpy_function
from keras_maskrcnn.steps import Step, StepHook
from keras_maskrcnn.typing import Dataset, Tensors

POLICIES = ("stop", "skip")
INPUTS = ("pixels", "boxes", "proposals")  # causes that belong to an image


class Sentinel(StepHook, keras.callbacks.Callback):
    """Checks every step of `MaskRCNN.fit`, and applies only steps that are finite.

    It checks, in this order, pixels, boxes, given proposals, the learning rate, the losses and the
    gradients' norm. The first that is not finite is the cause. The step then changes nothing: not
    the weights, the batch norm statistics, the epoch's means or the state of the optimizer. In
    mixed_float16, Keras' LossScaleOptimizer handles gradients that overflow.

    Args:
        on_nonfinite: "stop" ends `fit` with an error that names the cause and the images. "skip"
            logs the same line and continues with the next batch. At the end of the epoch, it logs
            how many steps were skipped and their images, and writes `skipped_steps` into the logs.
            The epoch's losses are the means of the other steps. In both cases `fit` ends if the
            weights are not finite, because no step repairs them.
        dataset: the `CocoDataset` of the batches, or any object with `file_names`. Without it, or
            in batches without `indices`, an image is named by its place in the data set or in the
            batch.
        patience: int. With "skip", this many skipped steps in a row end `fit`, because they must
            have a common cause. If most steps of a `fit` were skipped, it logs a line at its end;
            if all were, it raises an error.

    Attributes:
        skipped_steps: int. Steps skipped in this epoch so far.
        skipped_images: list of the images of these steps.

    Raises:
        ValueError: if `on_nonfinite` is unknown or `patience` is not positive. From `fit`: if a
            step is not finite (DataError if an image or a box is the cause), or if
            `steps_per_execution` hides steps from callbacks.
    """

    sees_every_step = looks_for_nonfinite = True

    def __init__(
        self,
        on_nonfinite: Literal["stop", "skip"] = "stop",
        dataset: Dataset | None = None,
        patience: int = 10,
    ) -> None:
        super().__init__()
        if on_nonfinite not in POLICIES:
            raise ValueError(
                f"on_nonfinite must be one of {', '.join(POLICIES)}. "
                f"Received: on_nonfinite={on_nonfinite!r}."
            )
        if patience < 1:
            raise ValueError(f"patience must be positive. Received: patience={patience}.")
        self.on_nonfinite, self.dataset, self.patience = on_nonfinite, dataset, patience
        self._steps = self._skipped = self._in_a_row = 0  # within this `fit`
        self._found: list[Any] = []  # notes of the current step, by `_note`

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts to count the steps of `fit`."""
        self._found, self._steps, self._skipped, self._in_a_row = [], 0, 0, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts to count the skipped steps of an epoch."""
        self._epoch, self.skipped_steps = epoch, 0
        self.skipped_images: list[Any] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Raises or logs the cause if the step was not finite."""
        self._steps += 1
        if not self._found:
            self._in_a_row = 0
            return
        # Every replica of this process has noted the same, so take one note per process.
        strategy = self.model.distribute_strategy
        per_worker = strategy.num_replicas_in_sync // distribution.worker(strategy)[1]
        found, self._found = self._found[::per_worker], []
        for cause, received, images in found:
            if cause in ("losses", "gradients") and not self._weights_are_finite():
                cause = "weights"
            line = (
                f"epoch {self._epoch + 1}, step {batch + 1}: {cause} must be finite. "
                f"Received: {received}images={images}."
            )
            self._in_a_row += 1
            enough = self.on_nonfinite == "skip" and self._in_a_row >= self.patience
            if enough:
                line = f"{self._in_a_row} steps in a row are not finite. The last, {line}"
            if self.on_nonfinite == "stop" or cause == "weights" or enough:
                raise DataError(line) if cause in INPUTS else ValueError(line)
            logging.warning("skipped %s", line)
            self._skipped += 1
            self.skipped_steps += 1
            self.skipped_images += images

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Logs how many steps were skipped, and their images."""
        if self.on_nonfinite == "skip" and logs is not None:
            logs["skipped_steps"] = self.skipped_steps
        if self.skipped_steps:
            counts = collections.Counter(self.skipped_images).items()
            images = ", ".join(f"{name} ({count})" for name, count in counts)
            steps = self.skipped_steps
            logging.warning("epoch %d: skipped %d steps, of %s.", epoch + 1, steps, images)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Logs a line if most steps were skipped; raises ValueError if all were."""
        if self._skipped and self._skipped == self._steps:
            raise ValueError(f"none of {self._steps} steps was finite: nothing was trained.")
        if self._skipped > self._steps / 2:
            logging.warning(
                "skipped %d of %d steps: the model is trained less than it seems.",
                self._skipped,
                self._steps,
            )

    # Inside the training step

    def around_step(
        self, step: Step, inputs: Tensors, gt: Tensors
    ) -> tuple[Tensors, tf.Tensor | bool]:
        """Runs a step that changes weights only if all is finite; otherwise notes the cause.

        In the forward pass, boxes and proposals that are not finite are replaced by zeros, because
        the pass would fail on them.
        """
        boxes = [gt["boxes"], inputs.get("proposals", gt["boxes"])]
        finite = tf.stack([_finite(value, axis=[1, 2]) for value in boxes], axis=1)  # (B, 2)
        clean = [tf.where(tf.math.is_finite(value), value, 0.0) for value in boxes]
        seen = {**inputs, "proposals": clean[1]} if "proposals" in inputs else inputs
        before = [tf.identity(variable.value) for variable in self._changed_by_forward()]
        apply = functools.partial(self._apply_if_finite, inputs, finite, before)
        return step(seen, {**gt, "boxes": clean[0]}, apply)

    def _apply_if_finite(self, inputs, boxes_are_finite, before, terms, gradients):
        """Applies the gradients if all is finite, and returns whether it is, () bool.

        Args:
            inputs: the model's inputs of this replica.
            boxes_are_finite: (B, 2) bool. Column 0: target boxes; column 1: proposals.
            before: list of tensors. The values of `_changed_by_forward` before the step.
            terms: dict of () float32, the losses.
            gradients: gradients of the trainable variables, summed over the replicas.
        """
        model, optimizer = self.model, self.model.optimizer
        pixels = tf.cast(inputs["images"], tf.float32)
        unknown = tf.fill([tf.shape(pixels)[0]], -1)
        finite = [_finite(pixels, axis=[1, 2, 3]), *tf.unstack(boxes_are_finite, axis=1)]
        images = [inputs.get("indices", unknown), *(tf.cast(x, tf.int32) for x in finite)]
        images = replicas.concat_over_replicas(tf.stack(images, axis=1))  # (B, 4)
        values = replicas.mean_over_replicas(tf.stack([*terms.values()]))
        rate = tf.cast(optimizer.learning_rate, tf.float32)
        norm = tf.linalg.global_norm(gradients)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            norm = tf.zeros([])  # it checks the gradients itself
        finite = tf.reduce_all(images[:, 1:] > 0) & _finite([*tf.unstack(values), rate, norm])

        def step(gradients, *_):
            with replicas.summed_before(optimizer):
                optimizer.apply(gradients, model.trainable_variables)

        def leave_out(_, before, *found):
            for variable, value in zip(self._changed_by_forward(), before, strict=True):
                variable.assign(value)
            # Python is called for skipped steps only, so normal steps need no synchronization.
            numpy_function(functools.partial(self._note, tuple(terms)), found, [])

        replicas.choose(finite, step, leave_out, gradients, before, images, values, rate, norm)
        return finite

    def _changed_by_forward(self):
        """Returns the variables that the forward pass changes.

        These are the moving statistics of batch norm, and the counts of the model's shares.
        """
        model = self.model
        trackers = [model.trackers[name] for name in model.shares]
        variables = [variable for tracker in trackers for variable in tracker.variables]
        # The config says nothing about the norms of parts from outside.
        if model.passed_in or "batch" in (model.config.norm, model.config.head_norm):
            moving = ("moving_mean", "moving_variance")
            variables += [v for v in model.non_trainable_variables if v.name in moving]
        return variables

    def _note(self, terms, images, values, rate, norm):
        """Notes (cause, other received values, image names) for the end of the batch."""
        names = [self._name(row, index) for row, index in enumerate(images[:, 0])]
        for column, cause in enumerate(INPUTS, 1):
            if not images[:, column].all():
                bad = [name for name, ok in zip(names, images[:, column], strict=True) if not ok]
                self._found.append((cause, "", bad))
                return
        received, cause = {"learning_rate": rate}, "learning rate"
        if np.isfinite(rate):
            bad = {n: v for n, v in zip(terms, values, strict=True) if not np.isfinite(v)}
            cause = "losses" if bad else "gradients"
            received = {**(bad or {"norm": norm}), **received}
        text = "".join(f"{name}={value:.6g}, " for name, value in received.items())
        self._found.append((cause, text, names))

    def _name(self, row, index):
        if index < 0:
            return f"number {row + 1} of the batch"
        return int(index) if self.dataset is None else self.dataset.file_names[index]

    def _weights_are_finite(self):
        return all(np.isfinite(np.asarray(variable)).all() for variable in self.model.weights)


def _finite(values, axis=None):
    return tf.reduce_all(tf.math.is_finite(values), axis=axis)
