"""Random numbers, and augmentations that are applied in turn or now and then."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.typing import Augmentation, Tensors


def apply(example: Tensors, seed: tf.Tensor, augmentations: Sequence[Augmentation]) -> Tensors:
    """Applies augmentations one after the other, each with a seed of its own.

    Args:
        example: dict, see `data.augment`.
        seed: (2,) integer.
        augmentations: sequence of callables (example, seed) -> example.
    """
    for i, augmentation in enumerate(augmentations):
        example = augmentation(example, tf.random.fold_in(seed, i))
    return example


def maybe(probability: float, augmentation: Augmentation) -> Augmentation:
    """Makes an augmentation that applies another one with a probability in [0, 1]."""

    def augment(example, seed):
        draw, seed = tf.unstack(tf.random.split(seed))
        return tf.cond(
            uniform(draw) < probability, lambda: augmentation(example, seed), lambda: example
        )

    return augment


def random_side(seed: tf.Tensor, sides: Sequence[int]) -> tf.Tensor:
    """Draws a shorter side for multi-scale training: one of `sides`, () int32."""
    sides = tf.constant(sides, tf.int32)
    return sides[tf.cast(uniform(seed) * len(sides), tf.int32)]


def uniform(
    seed: tf.Tensor, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 numbers of a shape from [low, high)."""
    return tf.random.stateless_uniform(shape, seed, low, high)


def check(valid: bool, expected: str, **received: Any) -> None:
    """Raises ValueError, by what is expected, if numbers given by name are not valid."""
    if not valid:
        values = ", ".join(f"{name}={value}" for name, value in received.items())
        raise ValueError(f"Must be {expected}. Received: {values}.")
