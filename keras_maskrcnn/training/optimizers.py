"""SGD as in §3.1, and the learning rate: warm-up, then steps."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.keras_private import variable_index


def check_number(
    name: str, value: Any, low: float = 0, high: float = math.inf, kind: type = numbers.Real
) -> None:
    """Raises ValueError if an argument is not a finite number of a kind, in a range.

    Args:
        name: str. What the error calls it.
        value: what was received.
        low, high: the range's ends, both included.
        kind: numbers.Real, or numbers.Integral for whole numbers.
    """
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and low <= value <= high):
        expected = f"a number of at least {low}" if high == math.inf else f"in [{low}, {high}]"
        if kind is numbers.Integral:
            expected = f"a whole number of at least {low}"
        raise ValueError(f"{name} must be {expected}. Received: {name}={value!r}.")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class WarmupSteps(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `learning_rate`, which is then multiplied by `decay` at each milestone.

    Args:
        learning_rate: float.
        warmup_steps: int. Steps until the full rate is reached; 0 for none.
        milestones: sequence of int. Steps at which the rate falls.
        decay: float.

    Raises:
        ValueError: if a number is negative or not finite.
    """

    def __init__(
        self,
        learning_rate: float,
        warmup_steps: int = 0,
        milestones: Sequence[int] = (),
        decay: float = 0.1,
    ) -> None:
        super().__init__()
        check_number("learning_rate", learning_rate)
        check_number("warmup_steps", warmup_steps)
        check_number("decay", decay)
        self.learning_rate, self.warmup_steps = learning_rate, warmup_steps
        self.milestones, self.decay = tuple(milestones), decay

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        """Returns the rate, () float32, at a step that counts from 0."""
        step = tf.cast(step, tf.float32)
        rate = self.learning_rate * tf.minimum(1.0, (step + 1) / max(1, self.warmup_steps))
        for milestone in self.milestones:
            rate = tf.where(step >= milestone, rate * self.decay, rate)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        names = ("learning_rate", "warmup_steps", "milestones", "decay")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class SGD(keras.optimizers.SGD):
    """SGD with weight decay as a part of the loss (§3.1), as in Caffe and PyTorch.

    Keras' own `weight_decay` is decoupled: it bypasses momentum, so that the same number acts ten
    times weaker at momentum 0.9.

    Args:
        learning_rate: float or schedule.
        momentum: float.
        l2: float. Added to the gradient, times the weight.
        undecayed: sequence of str. Names of variables without it: by default scales and shifts of
            norms, as in detectron2.
        **kwargs: those of `keras.optimizers.SGD`, for instance `global_clipnorm`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.02,
        momentum: float = 0.9,
        l2: float = 1e-4,
        undecayed: Sequence[str] = ("gamma", "beta"),
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.l2, self.undecayed = l2, tuple(undecayed)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the momenta, and notes which variables decay."""
        super().build(variables)
        self._decays = tuple(v.name not in self.undecayed for v in variables)

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Applies one gradient, already clipped and summed over replicas, to one variable."""
        if self.l2 and self._decays[variable_index(self, variable)]:
            gradient = gradient + tf.cast(self.l2 * variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "l2": self.l2, "undecayed": self.undecayed}


def sgd(
    learning_rate: float = 0.02,
    *,
    warmup_steps: int = 500,
    milestones: Sequence[int] = (120_000, 160_000),
    decay: float = 0.1,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    undecayed: Sequence[str] = ("gamma", "beta"),
    clip_norm: float | None = None,
    **options: Any,
) -> SGD:
    """The optimizer of §3.1, for `model.compile`.

    Args:
        learning_rate: float. 0.02 is for 16 images a step; scale it with the batch.
        warmup_steps: int. Steps of linear warm-up (Goyal et al., 2017; every peer).
        milestones: sequence of int. Steps at which the rate is multiplied by `decay`.
        decay: float.
        momentum: float.
        weight_decay: float. L2, through the gradient.
        undecayed: sequence of str. Names of variables without it.
        clip_norm: float or None. Bound of the norm of all gradients together.
        **options: others of keras.optimizers.SGD, for instance `use_ema`.

    Returns:
        An optimizer.
    """
    rate = WarmupSteps(learning_rate, warmup_steps, milestones, decay)
    return SGD(rate, momentum, weight_decay, undecayed, global_clipnorm=clip_norm, **options)
