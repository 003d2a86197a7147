"""Layers at the end of residual branches: stochastic depth, and ConvNeXt's scale of a branch."""

from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.distribution import replicas


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class StochasticDepth(keras.layers.Layer):
    """Leaves out a residual branch of some images in training (Huang et al., 2016).

    The branches that stay are divided by the probability to stay, so that their mean is the same.
    Draws do not depend on the number of replicas that share a batch in equal parts.

    Args:
        rate: float in [0, 1). Probability that the branch of an image is left out.
        seed: int; None for one that depends on keras.utils.set_random_seed.

    Call: (B, H, W, K) float -> the same shape. At inference it changes nothing.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed = rate, seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training or self.seed_generator is None:
            return inputs
        count = tf.shape(inputs)[0]
        before = replicas.images_before(count)
        noise = tf.random.stateless_uniform([before + count], self.seed_generator.next())[before:]
        kept = tf.cast(noise >= self.rate, inputs.dtype) / (1.0 - self.rate)
        return inputs * tf.reshape(kept, [-1, *[1] * (len(inputs.shape) - 1)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a trained number (Touvron et al., 2021), as ConvNeXt needs.

    That of keras.applications cannot be read from files without `custom_objects`.

    Args:
        init_values: float. The first value of the numbers.
        projection_dim: int K. Number of channels.

    Call: (B, H, W, K) float -> the same shape.
    """

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(
            name="gamma",
            shape=(self.projection_dim,),
            initializer=keras.initializers.Constant(self.init_values),
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs * tf.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"init_values": self.init_values, "projection_dim": self.projection_dim}
        return {**super().get_config(), **own}
