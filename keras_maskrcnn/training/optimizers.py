"""SGD as in §3.1, AdamW, and their learning rate: a warm-up, then drops at milestones."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.keras_private import variable_index
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.training.layer_decay import depths_of


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


class LayerRates(keras.optimizers.Optimizer):
    """Part of an optimizer: learning rates and weight decay that differ between variables.

    Attributes:
        layer_decay: float in (0, 1], or None. Factor of the learning rate per block of the
            backbone, from its output to its input.
        undecayed: tuple of str. Names of variables without weight decay.
    """

    layer_decay: float | None
    undecayed: tuple[str, ...]
    _depths: tuple[dict[int, int], int] | None = None

    def learn_layers(self, model: MaskRCNN) -> None:
        """Notes the depth of each variable of a model. `MaskRCNN.compile` calls it."""
        if self.layer_decay is not None:
            self._depths = depths_of(model)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the momentum variables, and notes rates and decays of all variables."""
        super().build(variables)
        self._decays = tuple(v.name not in self.undecayed for v in variables)
        self._factors = (1.0,) * len(variables)
        if self.layer_decay is None:
            return
        if self._depths is None:
            raise ValueError(
                "an optimizer with layer_decay must be given to MaskRCNN.compile before it is "
                f"used: it knows the depth of each layer. Received: layer_decay={self.layer_decay}."
            )
        depths, outside = self._depths
        self._factors = tuple(
            self.layer_decay ** (outside - depths.get(id(v), outside)) for v in variables
        )


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class SGD(LayerRates, keras.optimizers.SGD):
    """SGD with weight decay as a part of the loss (§3.1), as in Caffe and PyTorch.

    `weight_decay` of keras.optimizers.SGD is decoupled: it bypasses momentum, so the same number
    has a tenth of the effect at momentum 0.9.

    Args:
        learning_rate: float or schedule.
        momentum: float.
        l2: float. This number times the weight is added to the weight's gradient.
        undecayed: sequence of str. Names of variables without weight decay. By default, scales and
            shifts of norms, as in detectron2.
        layer_decay: float in (0, 1], or None. See `Recipe`.
        **kwargs: arguments of `keras.optimizers.SGD`, for instance `global_clipnorm`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.02,
        momentum: float = 0.9,
        l2: float = 1e-4,
        undecayed: Sequence[str] = ("gamma", "beta"),
        layer_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.l2, self.undecayed, self.layer_decay = l2, tuple(undecayed), layer_decay

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Applies a gradient, which is clipped and summed over replicas already, to a variable."""
        index = variable_index(self, variable)
        if self.l2 and self._decays[index]:
            gradient = gradient + tf.cast(self.l2 * variable, gradient.dtype)
        super().update_step(gradient, variable, learning_rate * self._factors[index])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = {**super().get_config(), "l2": self.l2, "undecayed": self.undecayed}
        # Backups of earlier versions have no layer_decay, and are compared with this.
        return config if self.layer_decay is None else {**config, "layer_decay": self.layer_decay}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class AdamW(LayerRates, keras.optimizers.Adam):
    """AdamW (Loshchilov & Hutter, 2019) as in PyTorch, with a learning rate per layer.

    The decay of a weight is in proportion to the weight's own learning rate. keras.optimizers.AdamW
    has one rate for all.

    Args:
        learning_rate: float or schedule.
        decay: float. Decoupled weight decay: a step multiplies the weight by 1 - rate * decay.
        undecayed: sequence of str. Names of variables without weight decay.
        layer_decay: float in (0, 1], or None. See `Recipe`.
        **kwargs: arguments of `keras.optimizers.Adam`, for instance `global_clipnorm`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 1e-4,
        decay: float = 0.05,
        undecayed: Sequence[str] = ("gamma", "beta", "bias"),
        layer_decay: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.decay, self.undecayed, self.layer_decay = decay, tuple(undecayed), layer_decay

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Applies a gradient, which is clipped and summed over replicas already, to a variable."""
        index = variable_index(self, variable)
        rate = tf.cast(learning_rate, variable.dtype) * self._factors[index]
        if self.decay and self._decays[index]:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        own = ("decay", "undecayed", "layer_decay")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


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
    layer_decay: float | None = None,
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
        layer_decay: float in (0, 1], or None. See `Recipe`.
        **options: other arguments of keras.optimizers.SGD, for instance `use_ema`.

    Returns:
        An optimizer.
    """
    rate = WarmupSteps(learning_rate, warmup_steps, milestones, decay)
    options["global_clipnorm"] = clip_norm
    return SGD(rate, momentum, weight_decay, undecayed, layer_decay, **options)
