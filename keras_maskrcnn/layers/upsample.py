"""Upsampling by 2 at the end of the mask head (Figure 4)."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.layers.conv import add_bias


def upsample_and_predict(
    features: keras.KerasTensor,
    width: int,
    predict: Callable[[keras.KerasTensor], keras.KerasTensor],
) -> keras.KerasTensor:
    """Doubles the resolution by a 2x2 deconvolution with ReLU, then predicts for each cell.

    The cells are moved to their places after the prediction, because it has fewer channels than
    the deconvolution.

    Args:
        features: (B, H, W, K) Keras tensor, H and W known.
        width: int. Channels of the deconvolution, which is named "deconv".
        predict: function from (B, ·, ·, width) to (B, ·, ·, N), such as a 1x1 convolution. Its
            result for a cell must not depend on the cell's position.

    Returns:
        (B, 2 H, 2 W, N) Keras tensor.
    """
    cells = Deconv(width, keras.initializers.HeNormal(), name="deconv")(features)
    return interleave(predict(cells))


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class Deconv(keras.layers.Layer):
    """The 2x2 deconvolution with stride 2 and ReLU (Figure 4), as one matrix product.

    Each input cell gives four output cells. They stay next to each other on the width axis until
    `interleave` moves them. Keras' Conv2DTranspose would be slower: it is the gradient of a
    convolution.

    Args:
        filters: int. Channels of the output.
        kernel_initializer: a Keras initializer, or its name.

    Call: (B, H, W, K) float -> (B, H, 4 W, filters).
    """

    def __init__(
        self,
        filters: int,
        kernel_initializer: str | keras.initializers.Initializer = "he_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (2, 2, self.filters, input_shape[-1])  # as in Conv2DTranspose
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        _, height, width, depth = inputs.shape
        kernel = tf.reshape(self.kernel, [4 * self.filters, depth])
        outputs = tf.matmul(tf.reshape(inputs, [-1, depth]), kernel, transpose_b=True)
        outputs = tf.nn.relu(add_bias(outputs, tf.tile(self.bias, [4])))
        return tf.reshape(outputs, [-1, height, 4 * width, self.filters])

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        batch, height, width, _ = input_shape
        return (batch, height, 4 * width, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def interleave(cells: keras.KerasTensor) -> keras.KerasTensor:
    """Moves the four cells that `Deconv` made from each cell to their 2 x 2 places.

    Args:
        cells: (B, H, 4 W, K) Keras tensor.

    Returns:
        (B, 2 H, 2 W, K).
    """
    _, height, width, depth = cells.shape
    width //= 4
    x = keras.layers.Reshape((height, width, 2, 2 * depth), name="split")(cells)
    x = keras.layers.Permute((1, 3, 2, 4), name="interleave")(x)
    return keras.layers.Reshape((2 * height, 2 * width, depth), name="masks")(x)
