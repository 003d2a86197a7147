"""SGD as in §3.1, and its learning rate: a warm-up, then drops at milestones."""

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
        name: str. The argument's name, for the error.
        value: the argument.
        low, high: the range; both ends are allowed.
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
    """Rises linearly to `learning_rate`, then multiplies it by `decay` at each milestone.

    Args:
        learning_rate: float. The full rate.
        warmup_steps: int. Steps until the full rate is reached; 0 for no warm-up.
        milestones: sequence of int. Steps at which the rate falls.
        decay: float. Factor at a milestone.

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
        """Returns the rate, () float32, at a step; the first step is 0."""
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

    `weight_decay` of keras.optimizers.SGD is decoupled: it bypasses momentum, so the same number
    has a tenth of the effect at momentum 0.9.

    Args:
        learning_rate: float or schedule.
        momentum: float.
        l2: float. This number times the weight is added to the weight's gradient.
        undecayed: sequence of str. Names of variables without weight decay. By default, scales and
            shifts of norms, as in detectron2.
        **kwargs: arguments of `keras.optimizers.SGD`, for instance `global_clipnorm`.
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
        """Creates the momentum variables, and notes which variables decay."""
        super().build(variables)
        self._decays = tuple(v.name not in self.undecayed for v in variables)

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Applies a gradient, which is clipped and summed over replicas already, to a variable."""
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
    """Makes the optimizer of §3.1, for `model.compile`.

    Args:
        learning_rate: float. 0.02 is for 16 images per step; scale it with the batch size.
        warmup_steps: int. Steps of linear warm-up (Goyal et al., 2017; every peer).
        milestones: sequence of int. Steps at which the rate is multiplied by `decay`.
        decay: float.
        momentum: float.
        weight_decay: float. L2, added to the gradients.
        undecayed: sequence of str. Names of variables without weight decay.
        clip_norm: float or None. Largest norm of all gradients together.
        **options: other arguments of keras.optimizers.SGD, for instance `use_ema`.

    Returns:
        An optimizer.
    """
    rate = WarmupSteps(learning_rate, warmup_steps, milestones, decay)
    return SGD(rate, momentum, weight_decay, undecayed, global_clipnorm=clip_norm, **options)
