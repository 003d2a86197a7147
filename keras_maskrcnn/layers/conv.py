"""Convolution, normalization and ReLU as one layer, so that fixed batch norm costs nothing."""

from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.layers.grouped_conv import convolve

HE_NORMAL = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
XAVIER = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' own, with the statistics of the images of all replicas.

    Keras' `synchronized=True` takes a variance for the difference of two large numbers, E[x^2] -
    E[x]^2, and a tenth of a step longer on one device.

    Call: (B, H, W, K) float -> the same, channels being normalized.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not (training and self.trainable):
            return super().call(inputs, training=training)
        x = tf.cast(inputs, tf.float32)
        mean, variance = replicas.moments(x, axes=[0, 1, 2])
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1.0 - self.momentum))
        outputs = tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self.epsilon)
        return tf.cast(outputs, self.compute_dtype)


def add_bias(outputs: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Adds a (K,) bias to (..., K) outputs.

    TensorFlow fuses this operation, and no other, with the product before it and ReLU after it.
    """
    return tf.nn.bias_add(outputs, tf.cast(bias, outputs.dtype))


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class ConvNorm(keras.layers.Layer):
    """A convolution, padded alike on both sides, then a norm, then perhaps ReLU.

    Where batch norm is a fixed affine map (frozen, or at inference), it is folded into kernel and
    bias at run time: one pass over the activations less, and exactly the same function.

    Args:
        filters: int. Channels of the output.
        kernel_size: int, odd.
        strides: int. Not above 1 together with a dilation.
        norm: "frozen_batch", "batch" (synchronized over replicas), "group" (32 groups), or "" for
            a bias instead.
        relu: bool. Whether ReLU follows.
        kernel_initializer: a Keras initializer, or its name.
        epsilon: float. Of the norm.
        groups: int. Parts of the channels that are convolved apart (ResNeXt, §3); both channel
            counts are multiples of it.
        dilation: int. Cells between two taps of the kernel.

    Call: (B, H, W, K) float -> (B, ceil(H / strides), ceil(W / strides), filters).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        norm: str = "",
        relu: bool = False,
        kernel_initializer: str | keras.initializers.Initializer | None = None,
        epsilon: float = 1e-5,
        groups: int = 1,
        dilation: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides
        self.norm_name, self.relu, self.epsilon = norm, relu, epsilon
        self.groups, self.dilation = groups, dilation
        self.kernel_initializer = keras.initializers.get(kernel_initializer or HE_NORMAL.clone())
        self.norm: keras.layers.Layer | None = None
        if norm in ("frozen_batch", "batch"):
            # PyTorch's momentum 0.1; Keras' default of 0.99 needs ten times more steps to settle.
            self.norm = BatchNorm(
                momentum=0.9, epsilon=epsilon, name="norm", dtype=self.dtype_policy
            )
        elif norm == "group":
            self.norm = keras.layers.GroupNormalization(
                32, epsilon=epsilon, name="norm", dtype=self.dtype_policy
            )
        elif norm:
            raise ValueError(f"norm is frozen_batch, batch, group or ''. Received: norm={norm!r}.")

    @keras.layers.Layer.trainable.setter
    def trainable(self, value: bool) -> None:
        """Thaws or freezes the layer; a frozen batch norm stays frozen either way."""
        keras.layers.Layer.trainable.fset(self, value)
        self._freeze_norm()

    def _freeze_norm(self):
        if self.norm is not None:
            self.norm.trainable = self.trainable and self.norm_name != "frozen_batch"

    def build(self, input_shape: tuple[Any, ...]) -> None:
        side = self.kernel_size
        shape = (side, side, input_shape[-1] // self.groups, self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self.kernel_initializer
        )
        if self.norm is None:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        else:
            self.norm.build((*input_shape[:-1], self.filters))
            self._freeze_norm()

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        frozen = self.norm_name == "frozen_batch" or not self.trainable
        if self.norm is None:
            outputs = add_bias(self._convolve(inputs, self.kernel), self.bias)
        elif self.norm_name != "group" and (frozen or not training):
            kernel, bias = self.folded()
            outputs = add_bias(self._convolve(inputs, kernel), bias)
        else:
            outputs = self.norm(self._convolve(inputs, self.kernel), training=training)
        return tf.nn.relu(outputs) if self.relu else outputs

    def folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Multiplies batch norm's fixed affine map into the convolution before it.

        Returns:
            kernel: as the layer's, in float32, or in the compute dtype from within `call`.
            bias: (filters,) float32.
        """
        norm: Any = self.norm
        kernel = tf.convert_to_tensor(self.kernel)
        scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        return kernel * tf.cast(scale, kernel.dtype), norm.beta - norm.moving_mean * scale

    def _convolve(self, inputs, kernel):
        # "SAME" pads a strided convolution more on the right; every trained weight expects both
        # sides alike. Not as TF's explicit padding: its gradients bypass oneDNN, 3 times slower.
        padding = "SAME"
        if self.strides > 1 and self.kernel_size > 1:
            pad, padding = [self.kernel_size // 2] * 2, "VALID"
            inputs = tf.pad(inputs, [[0, 0], pad, pad, [0, 0]])
        return convolve(inputs, kernel, self.strides, padding, self.groups, self.dilation)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        sides = (None if side is None else -(-side // self.strides) for side in input_shape[1:3])
        return (input_shape[0], *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "norm": self.norm_name,
            "relu": self.relu,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "epsilon": self.epsilon,
            "groups": self.groups,
            "dilation": self.dilation,
        }
