"""Keras' steps: what `fit`, `evaluate` and `predict` do with one batch, and what callbacks add."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn import checks, distribution
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.keras_private import batches_seen, innermost
from keras_maskrcnn.typing import Tensors

# A step: (inputs, gt, apply=None) -> terms, counts; see `StepHook.around_step`.
Step = Callable[..., tuple[Tensors, tf.Tensor | bool]]


class StepHook:
    """What a callback adds to the training step, inside of its graph.

    `fit` finds callbacks that derive from it, and runs the step through them, the first in the list
    outermost. `training.Sentinel` and `training.Throughput` are two.

    Attributes:
        sees_every_step: bool. Whether it fails if `steps_per_execution` hides steps from callbacks.
        looks_for_nonfinite: bool. Whether it deals with pixels, boxes and losses that are not
            finite; the checks of a batch then leave them to it.
    """

    sees_every_step = looks_for_nonfinite = False

    def around_step(
        self, step: Step, inputs: Tensors, gt: Tensors
    ) -> tuple[Tensors, tf.Tensor | bool]:
        """Runs a step.

        Args:
            step: function of (inputs, gt, apply=None), the step with the hooks further in. `apply`
                takes the place of `TrainSteps.apply`: a function of terms and gradients that
                returns whether the step counts.
            inputs, gt: those of this replica's batch.

        Returns:
            terms, counts: what `step` returned.
        """
        return step(inputs, gt)


class TrainSteps(keras.Model):
    """The steps of a model, which itself has these methods:

        compute_losses(inputs, gt, training): a dict of losses by name;
        prepare(inputs): a batch, of plain images too;
        target_limits(): what `checks.check_targets` has to know, a dict of its arguments.

    Attributes:
        trackers: dict of names to keras.metrics.Mean: "loss", `loss_names` and `shares`.
    """

    def make_trackers(self, loss_names: Iterable[str], shares: Iterable[str]) -> None:
        """Makes the running means of the losses, and of shares: which of the boxes are ..."""
        self.loss_names, self.shares = tuple(loss_names), tuple(shares)
        names = ("loss", *self.loss_names, *self.shares)
        self.trackers = {name: keras.metrics.Mean(name) for name in names}
        self.step_hooks: tuple[StepHook, ...] = ()
        self._traced_hooks: tuple[StepHook, ...] = ()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the losses, and of the shares."""
        return list(self.trackers.values())

    # The steps

    def train_step(self, data: Any) -> Tensors:
        """One step of SGD on a batch (inputs, targets) of `data.batches`."""
        hooks = self._traced_hooks
        # Else the hook names the images.
        finite = not any(hook.looks_for_nonfinite for hook in hooks)
        step: Step = self._differentiate_and_apply
        for hook in reversed(hooks):
            step = functools.partial(hook.around_step, step)
        terms, counts = step(*self._checked(data, finite))
        return self._track(terms, counts)

    def _differentiate_and_apply(self, inputs, gt, apply=None):
        with tf.GradientTape() as tape:
            terms = self.compute_losses(inputs, gt, training=True)
            # Gradients are summed over replicas; dividing makes that sum a mean.
            num_replicas = self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(tf.add_n(list(terms.values())) / num_replicas)
        gradients = tape.gradient(scaled, [v.value for v in self.trainable_variables])
        gradients = replicas.sum_gradients(gradients)
        return terms, (apply or self.apply)(terms, gradients)

    def apply(self, terms: Tensors, gradients: list[tf.Tensor | None]) -> tf.Tensor | bool:
        """Changes the weights.

        Args:
            terms: dict of () float32, the losses.
            gradients: list, of the trainable variables, summed over the replicas.

        Returns:
            bool: whether the step counts.
        """
        # Apply gradients last. Otherwise TensorFlow computes weight decay and momentum before the
        # forward pass, and holds two copies of the weights during the step.
        found = [x for x in gradients if x is not None]
        with tf.control_dependencies(found), replicas.summed_before(self.optimizer):
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return True

    def test_step(self, data: Any) -> Tensors:
        """The losses of a batch (inputs, targets), without training."""
        return self._track(self.compute_losses(*self._checked(data, finite=True), training=False))

    def predict_step(self, data: Any) -> Tensors:
        """The detections of a batch; targets, if any, are ignored."""
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        return self(self.prepare(checks.check_prediction(inputs)), training=False)

    def batches_seen(self) -> tf.Tensor | int:
        """Returns how many batches the model was trained on, () int32; 0 before `compile`."""
        optimizer = getattr(self, "optimizer", None)
        return tf.cast(batches_seen(optimizer), tf.int32) if optimizer else 0

    def _checked(self, data, finite):
        inputs, gt, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError("images are not weighted. Received: sample_weight.")
        if gt is None:
            raise ValueError(
                "training needs batches of (inputs, targets), as data.batches makes them. "
                "Received: inputs only."
            )
        gt = checks.check_targets(inputs, gt, finite=finite, **self.target_limits())
        return checks.check_inputs(inputs, finite), gt

    # Means

    def count_share(self, name: str, values: tf.Tensor, counted: tf.Tensor) -> None:
        """Adds to a share.

        Args:
            name: str, of `shares`.
            values: (B, N) bool.
            counted: (B, N) bool. Which of the values count.
        """
        # Flat, for keras.metrics.Mean first averages over the later axes, whose length varies.
        values, counted = (tf.reshape(tf.cast(x, tf.float32), [-1]) for x in (values, counted))
        self.trackers[name].update_state(values, sample_weight=counted)

    def _track(self, terms, counts=True):
        """Adds losses to the running means if the step counts, () bool, and returns the means."""
        for name, value in {"loss": tf.add_n(list(terms.values())), **terms}.items():
            value = tf.where(counts, value, 0.0)  # NaN times a weight of 0 is NaN
            self.trackers[name].update_state(value, sample_weight=tf.cast(counts, tf.float32))
        logs = {name: tracker.result() for name, tracker in self.trackers.items()}
        if distribution.worker(self.distribute_strategy)[1] > 1:
            # Keras averages over the first axis too there, which scalars do not have.
            logs = {name: value[None] for name, value in logs.items()}
        return logs

    # Tracing

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        """Keras' own, with `step_hooks` in the step, and the optimizer's momenta made before.

        The first step would make the momenta otherwise, and TensorFlow trace it twice.
        """
        force = force or self.step_hooks != self._traced_hooks
        self._traced_hooks = self.step_hooks
        for hook in self.step_hooks:
            if hook.sees_every_step and self.steps_per_execution > 1:
                raise ValueError(
                    f"a {type(hook).__name__} looks at every step. "
                    f"Received: steps_per_execution={self.steps_per_execution}."
                )
        optimizer = innermost(self.optimizer)
        num_replicas = self.distribute_strategy.num_replicas_in_sync
        if num_replicas > 1 and optimizer.gradient_accumulation_steps:
            # Keras decides inside of a replica whether to step, where replicas cannot be merged.
            raise ValueError(
                "several replicas share a larger batch instead of accumulating gradients. "
                f"Received: gradient_accumulation_steps={optimizer.gradient_accumulation_steps}."
            )
        if not self.optimizer.built:  # LossScaleOptimizer would begin anew
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Does nothing: overrides a private method of Keras, for all weights exist.

        Under a strategy Keras would take the first batch to build the model; the epoch would then
        miss it, and several workers would crash.
        """
