"""Convolution, normalization and ReLU in one layer, so that a fixed batch norm costs no time."""

from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.layers.grouped_conv import convolve

HE_NORMAL = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
XAVIER = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class BatchNorm(keras.layers.BatchNormalization):
    """Keras' batch norm with statistics over the images of all replicas.

    Keras' `synchronized=True` is not used for two reasons. It computes the variance as E[x^2] -
    E[x]^2, a difference of two large numbers, which is inexact. And on one device it makes a
    training step a tenth slower.

    Call: (B, H, W, K) float -> the same shape; each channel is normalized.
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

    TensorFlow fuses only this operation, and not a plain `+`, with the product before it and the
    ReLU after it.
    """
    return tf.nn.bias_add(outputs, tf.cast(bias, outputs.dtype))


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class ConvNorm(keras.layers.Layer):
    """A convolution, padded by the same amount on both sides, then a norm, then an optional ReLU.

    A batch norm that is frozen, or at inference, is a fixed affine map. It is then folded into
    kernel and bias at run time: the same function with one pass less over the activations.

    Args:
        filters: int. Channels of the output.
        kernel_size: int, odd.
        strides: int. Must be 1 if `dilation` is above 1.
        norm: "frozen_batch", "batch" (synchronized over replicas), "group" (32 groups), "layer"
            (over the channels of each cell), or "" for a bias and no norm.
        relu: bool. Whether a ReLU follows.
        kernel_initializer: a Keras initializer, or its name. None: He et al.'s normal one.
        epsilon: float. The norm's epsilon.
        groups: int. Number of channel groups that are convolved separately (ResNeXt, §3); divides
            the channels of input and output.
        dilation: int. Distance in cells between two taps of the kernel.

    Call: (B, H, W, K) float -> (B, ceil(H / strides), ceil(W / strides), filters).

    Raises:
        ValueError: if there is no such norm.
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
            # Equals PyTorch's momentum 0.1; Keras' default 0.99 settles ten times more slowly.
            self.norm = BatchNorm(
                momentum=0.9, epsilon=epsilon, name="norm", dtype=self.dtype_policy
            )
        elif norm == "group":
            self.norm = keras.layers.GroupNormalization(
                32, epsilon=epsilon, name="norm", dtype=self.dtype_policy
            )
        elif norm == "layer":
            self.norm = keras.layers.LayerNormalization(
                epsilon=epsilon, name="norm", dtype=self.dtype_policy
            )
        elif norm:
            raise ValueError(
                f"norm must be frozen_batch, batch, group, layer or ''. Received: norm={norm!r}."
            )

    @keras.layers.Layer.trainable.setter
    def trainable(self, value: bool) -> None:
        """Freezes or unfreezes the layer; a "frozen_batch" norm stays frozen in both cases."""
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
        elif isinstance(self.norm, BatchNorm) and (frozen or not training):
            kernel, bias = self.folded()
            outputs = add_bias(self._convolve(inputs, kernel), bias)
        else:
            outputs = self.norm(self._convolve(inputs, self.kernel), training=training)
        return tf.nn.relu(outputs) if self.relu else outputs

    def folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Multiplies batch norm's fixed affine map into the convolution before it.

        Returns:
            kernel: shaped like the layer's kernel. float32; inside `call`, the compute dtype.
            bias: (filters,) float32.
        """
        norm: Any = self.norm
        kernel = tf.convert_to_tensor(self.kernel)
        scale = norm.gamma * tf.math.rsqrt(norm.moving_variance + norm.epsilon)
        return kernel * tf.cast(scale, kernel.dtype), norm.beta - norm.moving_mean * scale

    def _convolve(self, inputs, kernel):
        # Published weights expect the same padding on both sides, but "SAME" pads a strided
        # convolution more on the right. TF's explicit padding is not used because its gradients
        # bypass oneDNN and are 3 times slower.
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
