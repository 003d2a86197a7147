"""Random numbers, and functions that apply augmentations in turn or at random."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_maskrcnn.typing import Augmentation, Tensors


def apply(example: Tensors, seed: tf.Tensor, augmentations: Sequence[Augmentation]) -> Tensors:
    """Applies augmentations one after the other, each with its own seed.

    Args:
        example: dict, see `data.augment`.
        seed: (2,) integer.
        augmentations: sequence of callables (example, seed) -> example.

    Returns:
        The changed example.
    """
    for i, augmentation in enumerate(augmentations):
        example = augmentation(example, tf.random.fold_in(seed, i))
    return example


def maybe(probability: float, augmentation: Augmentation) -> Augmentation:
    """Makes an augmentation that applies another augmentation with a probability in [0, 1]."""

    def augment(example, seed):
        draw, seed = tf.unstack(tf.random.split(seed))
        return tf.cond(
            uniform(draw) < probability, lambda: augmentation(example, seed), lambda: example
        )

    return augment


def random_side(seed: tf.Tensor, sides: Sequence[int]) -> tf.Tensor:
    """Draws the shorter side for multi-scale training, one of `sides`, as () int32."""
    sides = tf.constant(sides, tf.int32)
    return sides[tf.cast(uniform(seed) * len(sides), tf.int32)]


def uniform(
    seed: tf.Tensor, shape: Sequence[int] = (), low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Draws float32 numbers from [low, high), as a tensor of this shape."""
    return tf.random.stateless_uniform(shape, seed, low, high)


def check(valid: bool, expected: str, **received: Any) -> None:
    """Raises ValueError with the text `expected` and the named numbers if `valid` is False."""
    if not valid:
        values = ", ".join(f"{name}={value}" for name, value in received.items())
        raise ValueError(f"Must be {expected}. Received: {values}.")
