"""Checks the arguments of Keras' methods, so that likely mistakes give one line of error, early."""

import functools
import inspect
import reprlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from keras_maskrcnn import checks, distribution, shares
from keras_maskrcnn.keras_private import innermost, is_called_by_fit, learning_rate_or_schedule
from keras_maskrcnn.steps import StepHook, TrainSteps
from keras_maskrcnn.weights.untrained import advice


class CheckedCalls(TrainSteps):
    """Adds checks to keras.Model's `compile`, `fit`, `evaluate`, `predict` and `*_on_batch`."""

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """Calls Keras' `compile`. Losses and metrics are not accepted, because the model has them.

        Args:
            optimizer: as in keras.Model.compile. `training.Recipe` and `training.sgd` make one.
            loss, loss_weights, metrics: only None is allowed.
            **kwargs: other arguments of keras.Model.compile.

        Raises:
            ValueError: if losses or metrics are given.
        """
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": kwargs.get("weighted_metrics"),
        }
        given = {name: value for name, value in given.items() if value}
        if given:
            received = ", ".join(f"{name}={reprlib.repr(x)}" for name, x in given.items())
            raise ValueError(
                "MaskRCNN has its own losses and metrics; for COCO's metrics use CocoEvaluation. "
                f"Received: {received}."
            )
        super().compile(optimizer, **kwargs)
        learn = getattr(innermost(self.optimizer), "learn_layers", None)
        if learn is not None:  # an optimizer of `training`
            learn(self)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles the model with the settings it had when it was saved."""
        config = keras.saving.deserialize_keras_object(config)
        for name in ("loss", "loss_weights", "metrics", "weighted_metrics"):
            config.pop(name, None)  # version 0.1 accepted and ignored them
        self.compile(**config)
        self.optimizer.build(self.trainable_variables)

    @functools.wraps(keras.Model.fit)
    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the model, as keras.Model.fit does.

        The arguments are checked first: inputs, targets, validation data and callbacks.

        Args:
            *args, **kwargs: arguments of keras.Model.fit. `x` is usually made by `data.batches`.
                Weights of samples or classes are not accepted.

        Returns:
            keras.callbacks.History of "loss", its terms as in `compute_losses`, and the
                fractions of `metrics`.

        Raises:
            ValueError: if an argument or a value is not as the class describes it.
            DataError: if an image cannot be read.
        """
        call = _bind("fit", self, args, kwargs)
        callbacks = _listed(call.arguments.get("callbacks"))
        try:
            self._prepare_fit(call.arguments, callbacks)
            return self._checked_call("fit", call)
        except BaseException:
            _undo_failed_fit(callbacks)
            raise
        finally:
            self.step_hooks = ()

    def _prepare_fit(self, given, callbacks):
        """Checks the validation data and the callbacks, and adds our callbacks."""
        if not self.compiled:
            raise ValueError("fit needs an optimizer: call model.compile(recipe.optimizer()).")
        validation = given.get("validation_data")
        if isinstance(validation, tf.data.Dataset):
            self._warn_of_sizes("fit: validation_data", validation)
            reading = self.config.reading()
            checked = checks.check_data(validation, reading=reading)
            given["validation_data"] = shares.for_keras(self.distribute_strategy, checked)
        elif validation is not None:
            x, y, _ = keras.utils.unpack_x_y_sample_weight(validation)
            checks.check_data(x, y, reading=self.config.reading(), **self.target_limits())
        _check_callbacks(callbacks, self.optimizer)
        if not isinstance(given.get("callbacks"), keras.callbacks.CallbackList):
            for callback in callbacks:
                if hasattr(callback, "look_at_others"):
                    callback.look_at_others(callbacks)
            # _Advice comes last: training.Backup restores weights when the first epoch begins.
            given["callbacks"] = [WholeEpochs(), *callbacks, _Advice()]
        self.step_hooks = tuple(x for x in callbacks if isinstance(x, StepHook))

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args: Any, **kwargs: Any) -> list[float] | dict[str, float]:
        """Computes the losses on a data set, as keras.Model.evaluate does.

        COCO's metrics come from `keras_maskrcnn.evaluate` instead.

        Args:
            *args, **kwargs: arguments of keras.Model.evaluate.

        Returns:
            list of float, the values of `metrics` in their order. With return_dict=True a dict by
                name.

        Raises:
            ValueError: if an argument or a value is not as the class describes it.
            DataError: if an image cannot be read.
        """
        call = _bind("evaluate", self, args, kwargs)
        if is_called_by_fit(call.kwargs):  # `fit` has checked it
            return super().evaluate(*args, **kwargs)
        return self._checked_call("evaluate", call)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """Detects objects, batch by batch, as keras.Model.predict does.

        Args:
            *args, **kwargs: arguments of keras.Model.predict. `x` is a batch, plain images, or a
                tf.data.Dataset of batches.

        Returns:
            dict of the outputs of all images as NumPy arrays, see the class.

        Raises:
            ValueError: if a value is not as the class describes it, or there is no batch.
            DataError: if an image cannot be read.
        """
        call = _bind("predict", self, args, kwargs)
        x = call.arguments["x"]
        if isinstance(x, tf.data.Dataset) and x.cardinality() == 0:
            raise ValueError("predict needs at least one batch. Received: an empty data set.")
        images = x.get("images") if isinstance(x, dict) else x
        if getattr(images, "shape", (1,))[:1] == (0,):  # Keras' loop would make no batch of these
            return self.predict_on_batch(x)
        return self._checked_call("predict", call)

    @functools.wraps(keras.Model.train_on_batch)
    def train_on_batch(self, *args: Any, **kwargs: Any) -> list[float] | dict[str, float]:
        """Trains on one batch, as keras.Model.train_on_batch does, after the checks of `fit`."""
        return self._checked_call("train_on_batch", _bind("train_on_batch", self, args, kwargs))

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args: Any, **kwargs: Any) -> list[float] | dict[str, float]:
        """Computes the losses of one batch, after the checks of `evaluate`."""
        return self._checked_call("test_on_batch", _bind("test_on_batch", self, args, kwargs))

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, *args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        """Detects objects in one batch, after the checks of `predict`."""
        return self._checked_call("predict_on_batch", _bind("predict_on_batch", self, args, kwargs))

    def _checked_call(self, name, call):
        """Calls Keras' method after checking its arguments. Known errors become one line."""
        self._look_at(name, call.arguments)
        x = call.arguments.get("x")
        if name in ("fit", "evaluate") and x is not None:
            call.arguments["x"] = shares.for_keras(self.distribute_strategy, x)
        with shares.ending_others(self.distribute_strategy), checks.plain_errors():
            return getattr(super(), name)(*call.args[1:], **call.kwargs)

    def _look_at(self, name, given):
        """Checks the arguments of a Keras method, and replaces `x` by a checked `x`."""
        for weights in ("class_weight", "sample_weight"):
            if given.get(weights) is not None:
                raise ValueError(f"images cannot be weighted. Received: {weights}.")
        if given.get("x") is None:
            return
        self._warn_of_sizes(name, given["x"])
        finite = not any(hook.looks_for_nonfinite for hook in self.step_hooks)
        given["x"] = checks.check_data(
            given["x"],
            given.get("y"),
            finite=finite,
            reading=self.config.reading(),
            **self.target_limits(),
        )

    def _warn_of_sizes(self, name, dataset):
        line = checks.check_resizing(dataset, self.config.resizing())
        if line:
            logging.warning("%s: %s", name, line)


class _Advice(keras.callbacks.Callback):
    """Warns before the first step if layers are frozen with random weights."""

    def on_train_begin(self, logs=None):
        self.due = True

    def on_epoch_begin(self, epoch, logs=None):
        line = advice(self.model.networks) if self.due else ""
        self.due = False
        if line:
            logging.warning("fit: %s", line)


class WholeEpochs(keras.callbacks.Callback):
    """Raises ValueError if an epoch on several replicas ends before its data set does.

    If an image cannot be read, one replica gets that error and another gets the end of the data.
    TensorFlow may report only the end. Keras would then treat the epoch as complete and continue.
    """

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.done = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.done = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        strategy, steps = self.model.distribute_strategy, self.params["steps"]
        alone = strategy.num_replicas_in_sync == 1 or distribution.worker(strategy)[1] > 1
        if alone or self.model.stop_training or not steps or self.done >= steps:
            return
        raise ValueError(
            f"the data ended in epoch {epoch + 1} after {self.done} of {steps} batches. On several "
            "replicas an error of the data set may look like its end. To see the error, read the "
            f"whole data set without a strategy. Received: batches={self.done}."
        )


def _check_callbacks(callbacks, optimizer):
    """Refuses callbacks that Keras would also refuse, but only after an epoch or later."""
    monitors = keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau
    for callback in callbacks:
        best = isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_best_only
        if not best and not isinstance(callback, monitors):
            continue
        known = callback.monitor_op is not None or callback.mode != "auto"
        if not known and callback.monitor.removeprefix("val_") != "loss":
            raise ValueError(
                f'{type(callback).__name__} needs mode="max" or mode="min": Keras cannot guess it '
                f"for this metric. Received: monitor={callback.monitor!r}, mode='auto'."
            )
    setters = keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler
    found = [type(x).__name__ for x in callbacks if isinstance(x, setters)]
    rate = learning_rate_or_schedule(optimizer) if found else None
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            f"{found[0]} sets the learning rate, but the optimizer's follows a schedule: compile "
            "with an optimizer whose learning_rate is a number. "
            f"Received: learning_rate={type(rate).__name__}."
        )


def _undo_failed_fit(callbacks):
    """After a failed `fit`, undoes changes that callbacks undo at the end of a complete `fit`."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.SwapEMAWeights):
            callback.on_epoch_begin(0)  # takes averaged weights out of the model
        if hasattr(callback, "on_fit_failed"):  # training.Backup has it
            callback.on_fit_failed()


def _listed(callbacks):
    """Returns Keras' argument `callbacks`, in any of its forms, as a list."""
    callbacks = tf.nest.flatten(getattr(callbacks, "callbacks", callbacks))
    return [callback for callback in callbacks if callback is not None]


def _bind(name, model, args, kwargs):
    """Returns a call's arguments for a method of keras.Model, as inspect.BoundArguments."""
    return inspect.signature(getattr(keras.Model, name)).bind(model, *args, **kwargs)
