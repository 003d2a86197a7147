"""The steps of `fit`, `evaluate` and `predict` for one batch, and the hooks that callbacks add."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_maskrcnn import checks, distribution
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.keras_private import BuiltModel, batches_seen, innermost
from keras_maskrcnn.pixel_checks import check_form
from keras_maskrcnn.typing import Tensors

# A step: (inputs, gt, apply=None) -> terms, counts; see `StepHook.around_step`.
Step = Callable[..., tuple[Tensors, tf.Tensor | bool]]


class StepHook:
    """Base class of callbacks that change the training step inside of its graph.

    `fit` finds the callbacks that derive from this class and wraps the step in them. The first in
    the list is outermost. Examples are `training.Sentinel` and `training.Throughput`.

    Attributes:
        sees_every_step: bool. Whether the hook needs `steps_per_execution=1`, which hides no step
            from callbacks. `fit` fails otherwise.
        looks_for_nonfinite: bool. Whether the hook handles pixels, boxes and losses that are not
            finite. The checks of a batch then skip them.
    """

    sees_every_step = looks_for_nonfinite = False

    def around_step(
        self, step: Step, inputs: Tensors, gt: Tensors
    ) -> tuple[Tensors, tf.Tensor | bool]:
        """Runs a step.

        Args:
            step: function of (inputs, gt, apply=None). The step with the hooks inside of this one.
                `apply` replaces `TrainSteps.apply`: a function of terms and gradients that returns
                whether the step counts.
            inputs: dict of tensors. The inputs of this replica's batch.
            gt: dict of tensors. The targets of this replica's batch.

        Returns:
            terms and counts, as `step` returned them.
        """
        return step(inputs, gt)


class TrainSteps(BuiltModel):
    """The training, test and prediction steps of a model.

    The model has these methods:

    - `compute_losses(inputs, gt, training)` returns a dict of losses by name.
    - `prepare(inputs)` returns a batch, also for plain images.
    - `target_limits()` returns a dict of arguments for `checks.check_targets`.
    - `config.reading()` returns a dict of arguments for `pixel_checks.check_form`.

    Attributes:
        trackers: dict. Maps "loss", `loss_names` and `shares` to a keras.metrics.Mean each.
    """

    train_function: Any  # of Keras; None until `make_train_function`
    test_function: Any

    def make_trackers(self, loss_names: Iterable[str], shares: Iterable[str]) -> None:
        """Makes the running means of the losses and of shares, such as that of positive RoIs."""
        self.loss_names, self.shares = tuple(loss_names), tuple(shares)
        names = ("loss", *self.loss_names, *self.shares)
        self.trackers = {name: keras.metrics.Mean(name) for name in names}
        self.step_hooks: tuple[StepHook, ...] = ()
        self._traced_hooks: tuple[StepHook, ...] = ()
        self._alone: Any = None

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means of the losses and of the shares."""
        return list(self.trackers.values())

    # The steps

    def train_step(self, data: Any) -> Tensors:
        """Trains on one batch (inputs, targets) of `data.batches`. Returns the running means."""
        hooks = self._traced_hooks
        # Such a hook names the images that have numbers that are not finite.
        finite = not any(hook.looks_for_nonfinite for hook in hooks)
        step: Step = self._differentiate_and_apply
        for hook in reversed(hooks):
            step = functools.partial(hook.around_step, step)
        terms, counts = step(*self._checked(data, finite))
        return self._track(terms, counts)

    def _differentiate_and_apply(self, inputs, gt, apply=None):
        with tf.GradientTape() as tape:
            terms = self.compute_losses(inputs, gt, training=True)
            # Gradients are summed over replicas. Dividing the loss makes this sum a mean.
            num_replicas = self.distribute_strategy.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(tf.add_n(list(terms.values())) / num_replicas)
        gradients = tape.gradient(scaled, [v.value for v in self.trainable_variables])
        gradients = replicas.sum_gradients(gradients)
        return terms, (apply or self.apply)(terms, gradients)

    def apply(self, terms: Tensors, gradients: list[tf.Tensor | None]) -> tf.Tensor | bool:
        """Changes the weights.

        Args:
            terms: dict of () float32, the losses.
            gradients: list. Gradients of the trainable variables, summed over the replicas.

        Returns:
            bool. Whether the step counts.
        """
        # Apply gradients last. Otherwise TensorFlow computes weight decay and momentum before the
        # forward pass, and holds two copies of the weights during the step.
        found = [x for x in gradients if x is not None]
        with tf.control_dependencies(found), replicas.summed_before(self.optimizer):
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return True

    def test_step(self, data: Any) -> Tensors:
        """Computes the losses of a batch (inputs, targets), and returns the running means."""
        return self._track(self.compute_losses(*self._checked(data, finite=True), training=False))

    def predict_step(self, data: Any) -> Tensors:
        """Returns the detections of a batch. Ignores targets."""
        inputs = keras.utils.unpack_x_y_sample_weight(data)[0]
        inputs = checks.check_prediction(inputs, **self.config.reading())
        return self(self.prepare(inputs), training=False)

    def predict_alone(self, parts: Sequence[Any]) -> list[dict[str, np.ndarray]]:
        """Detects objects on the replicas of this worker, which waits for no other worker.

        Keras' `predict_on_batch` gathers the outputs of all workers, so all must call it equally
        often, and each gets the first worker's outputs first.

        Args:
            parts: for each replica of this worker the inputs of `predict_step`.

        Returns:
            list of dicts of NumPy arrays. The outputs for each part.
        """
        strategy = self.distribute_strategy
        parts = tf.nest.map_structure(tf.convert_to_tensor, list(parts))
        batch = strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group % len(parts)]
        )
        if self._alone is None:
            self._alone = tf.function(self._predict_parts, reduce_retracing=True, autograph=False)
        outputs = (self._predict_parts if self.run_eagerly else self._alone)(batch)
        found = {name: strategy.experimental_local_results(x) for name, x in outputs.items()}
        return [{name: x[i].numpy() for name, x in found.items()} for i in range(len(parts))]

    def _predict_parts(self, batch):
        return self.distribute_strategy.run(self.predict_step, args=(batch,))

    def batches_seen(self) -> tf.Tensor | int:
        """Returns how many batches the model was trained on: () int32, 0 before `compile`."""
        optimizer = getattr(self, "optimizer", None)
        return tf.cast(batches_seen(optimizer), tf.int32) if optimizer else 0

    def _checked(self, data, finite):
        inputs, gt, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise ValueError("images cannot be weighted. Received: sample_weight.")
        if gt is None:
            raise ValueError(
                "training needs batches of (inputs, targets), as data.batches makes them. "
                "Received: inputs only."
            )
        inputs = replicas.on_common_canvas(inputs) if isinstance(inputs, dict) else inputs
        gt = checks.check_targets(inputs, gt, finite=finite, **self.target_limits())
        inputs = checks.check_inputs(inputs, finite)
        check_form(inputs["images"], batch=True, **self.config.reading())
        return inputs, gt

    # Means

    def count_share(self, name: str, values: tf.Tensor, counted: tf.Tensor) -> None:
        """Adds values to a share: the fraction of counted values that are true.

        Args:
            name: str, one of `shares`.
            values: (B, N) bool.
            counted: (B, N) bool. Which of the values count.
        """
        # Flat, because keras.metrics.Mean first averages over the later axes, and their length
        # varies from batch to batch.
        values, counted = (tf.reshape(tf.cast(x, tf.float32), [-1]) for x in (values, counted))
        self.trackers[name].update_state(values, sample_weight=counted)

    def _track(self, terms, counts=True):
        """Adds losses to the running means if the step counts, () bool, and returns the means."""
        for name, value in {"loss": tf.add_n(list(terms.values())), **terms}.items():
            value = tf.where(counts, value, 0.0)  # NaN times a weight of 0 is NaN
            self.trackers[name].update_state(value, sample_weight=tf.cast(counts, tf.float32))
        logs = {name: tracker.result() for name, tracker in self.trackers.items()}
        if distribution.worker(self.distribute_strategy)[1] > 1:
            # With several workers Keras averages over the first axis, which scalars do not have.
            logs = {name: value[None] for name, value in logs.items()}
        return logs

    # Tracing

    def make_train_function(self, force: bool = False) -> Callable[..., Any]:
        """Makes `train_function`, a step that is traced once, after adding `step_hooks`.

        It builds the optimizer first. Otherwise the first step would make the optimizer's momenta,
        and TensorFlow would trace it twice.
        """
        force = force or self.step_hooks != self._traced_hooks
        self._traced_hooks = self.step_hooks
        for hook in self.step_hooks:
            if hook.sees_every_step and self.steps_per_execution > 1:
                raise ValueError(
                    f"a {type(hook).__name__} must see every step. "
                    f"Received: steps_per_execution={self.steps_per_execution}."
                )
        optimizer = innermost(self.optimizer)
        num_replicas = self.distribute_strategy.num_replicas_in_sync
        if num_replicas > 1 and optimizer.gradient_accumulation_steps:
            # Keras decides inside of a replica whether to step. Replicas cannot be merged there.
            raise ValueError(
                "gradients cannot be accumulated on several replicas; use a larger batch instead. "
                f"Received: gradient_accumulation_steps={optimizer.gradient_accumulation_steps}."
            )
        if not self.optimizer.built:  # building a LossScaleOptimizer again would reset it
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        if self.train_function is None or force:
            super().make_train_function(force)
            self.train_function = self._drawing_inside(self.train_function)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Callable[..., Any]:
        """Makes `test_function`, a step that is traced once."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = self._drawing_inside(self.test_function)
        return self.test_function

    def _drawing_inside(self, function):
        """Makes Keras' train or test function draw its batch inside of the graph.

        There a batch has the element spec of its iterator, so one trace fits all images. Since
        version 3.16, Keras draws it outside (keras#23305), and images of other sizes are traced
        again.
        """
        if self.run_eagerly or self.steps_per_execution > 1:
            return function

        @functools.partial(tf.function, reduce_retracing=True, autograph=False)
        def draw_and_step(iterator):
            return function(iter([iterator.get_next()]))  # as from `train_on_batch`

        def step(iterator):
            in_graph = isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator)
            return draw_and_step(iterator) if in_graph else function(iterator)

        return step
