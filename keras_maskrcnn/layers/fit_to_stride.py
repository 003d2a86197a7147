"""Gives the maps of networks with unpadded convolutions as many cells as their stride demands."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class FitToStride(keras.layers.Layer):
    """Pads a map with zeros until it has ceil(side / stride) cells per side of the image.

    Anchors and RoIs take cell i to lie at the pixels from i * stride on. An unpadded ("valid")
    convolution drops cells at all sides. So half of the missing cells are added on the left and
    on top, rounded down, and the others on the right and below.

    Args:
        stride: int. Pixels per cell.

    Call: [map (B, h, w, K), images (B, H, W, C)] -> (B, ceil(H / stride), ceil(W / stride), K).
        If a map is larger than that, its last cells are cut off.
    """

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride
        self.built = True

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        x, images = inputs
        sides = -(-tf.shape(images)[1:3] // self.stride)
        missing = tf.maximum(sides - tf.shape(x)[1:3], 0)
        before = missing // 2
        rows, columns = tf.unstack(tf.stack([before, missing - before], axis=1))
        padded = tf.pad(x, tf.stack([tf.zeros_like(rows), rows, columns, tf.zeros_like(rows)]))
        padded = padded[:, : sides[0], : sides[1]]
        return tf.ensure_shape(padded, self.compute_output_shape([x.shape, images.shape]))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        (*_, channels), (batch, *sides, _) = input_shape
        fitted = (None if side is None else -(-side // self.stride) for side in sides)
        return (batch, *fitted, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stride": self.stride}
