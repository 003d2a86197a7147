"""Self-attention over the cells of a map: plain, reduced (MiT), or in windows (ViTDet)."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
def tanh_gelu(x: tf.Tensor) -> tf.Tensor:
    """Returns GELU in its approximation by tanh (Hendrycks & Gimpel, 2016), as a Keras activation.

    Args:
        x: float tensor.
    """
    return keras.activations.gelu(x, approximate=True)


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class Attend(keras.layers.Layer):
    """Attention with several heads, without weights (Vaswani et al., 2017).

    Args:
        num_heads: int. Divides the channels.

    Call: [queries (B, H, W, K), keys (B, H', W', K), values (B, H', W', K)] -> (B, H, W, K).
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.built = True

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        queries, keys, values = (self._heads(x) for x in inputs)
        logits = tf.matmul(queries * queries.shape[-1] ** -0.5, keys, transpose_b=True)
        found = tf.matmul(tf.nn.softmax(logits), values)  # (B, heads, H W, K / heads)
        return tf.reshape(tf.transpose(found, [0, 2, 1, 3]), tf.shape(inputs[0]))

    def _heads(self, x):
        batch, depth = tf.shape(x)[0], x.shape[-1] // self.num_heads
        return tf.transpose(tf.reshape(x, [batch, -1, self.num_heads, depth]), [0, 2, 1, 3])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_heads": self.num_heads}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class Positions(keras.layers.Layer):
    """Adds an embedding of its position to each cell.

    Args:
        side: int. Cells per side of the largest map. Smaller maps take the first rows and columns,
            as if they were padded on the right and below.

    Call: (B, H, W, K) float -> the same shape. H and W are at most `side`.
    """

    def __init__(self, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.table = self.add_weight(
            name="positions",
            shape=(1, self.side, self.side, input_shape[-1]),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        rows, columns = tf.shape(inputs)[1], tf.shape(inputs)[2]
        return inputs + tf.cast(self.table, inputs.dtype)[:, :rows, :columns]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class WindowedAttention(keras.layers.Layer):
    """Self-attention with relative positions, in windows or over the whole map (ViTDet §3).

    The map is padded with zeros on the right and below to whole windows. Weights and results are
    those of detectron2's `Attention` between `window_partition` and `window_unpartition`.

    Args:
        num_heads: int. Divides the channels.
        window: int. Cells per side of a window; 0 for attention over the whole map.
        side: int. Cells per side of the largest map, for which there are relative positions. Used
            if `window` is 0.

    Call: (B, H, W, K) float -> the same shape.
    """

    def __init__(self, num_heads: int, window: int, side: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.window, self.side = num_heads, window, side

    def build(self, input_shape: tuple[Any, ...]) -> None:
        channels = input_shape[-1]
        draw = keras.initializers.TruncatedNormal(stddev=0.02)
        for name, units in (("qkv", 3 * channels), ("projection", channels)):
            layer = keras.layers.Dense(
                units, kernel_initializer=draw.clone(), name=name, dtype=self.dtype_policy
            )
            layer.build((None, channels))
            setattr(self, name, layer)
        shape = (2 * (self.window or self.side) - 1, channels // self.num_heads)
        for name in ("rel_pos_h", "rel_pos_w"):
            setattr(self, name, self.add_weight(name=name, shape=shape, initializer="zeros"))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if not self.window:
            return self._attend(inputs)
        side, channels = self.window, inputs.shape[-1]
        batch, height, width = (tf.shape(inputs)[i] for i in range(3))
        rows, columns = -(-height // side), -(-width // side)
        pad = [[0, 0], [0, rows * side - height], [0, columns * side - width], [0, 0]]
        x = tf.reshape(tf.pad(inputs, pad), [batch, rows, side, columns, side, channels])
        x = tf.reshape(tf.transpose(x, [0, 1, 3, 2, 4, 5]), [-1, side, side, channels])
        x = tf.reshape(self._attend(x), [batch, rows, columns, side, side, channels])
        x = tf.transpose(x, [0, 1, 3, 2, 4, 5])
        x = tf.reshape(x, [batch, rows * side, columns * side, channels])
        return tf.ensure_shape(x[:, :height, :width], inputs.shape)

    def _attend(self, x):
        channels, heads = x.shape[-1], self.num_heads
        batch, height, width = (x.shape[i] or tf.shape(x)[i] for i in range(3))
        size = channels // heads
        qkv = tf.reshape(self.qkv(x), [batch, height * width, 3, heads, size])
        queries, keys, values = tf.unstack(tf.transpose(qkv, [2, 0, 3, 1, 4]))
        logits = tf.matmul(queries * size**-0.5, keys, transpose_b=True)
        logits = tf.reshape(logits, [batch * heads, height, width, height, width])
        # The position of a key relative to a query: its rows and its columns have a product each.
        maps = tf.reshape(queries, [batch * heads, height, width, size])
        rows = tf.einsum("bhwc,hkc->bhwk", maps, self._relative(self.rel_pos_h, height))
        columns = tf.einsum("bhwc,wkc->bhwk", maps, self._relative(self.rel_pos_w, width))
        logits += rows[..., None] + columns[..., None, :]
        weights = tf.nn.softmax(tf.reshape(logits, [batch, heads, height * width, height * width]))
        found = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        return self.projection(tf.reshape(found, [batch, height, width, channels]))

    def _relative(self, table, count):
        """Returns the embedding of each key for each query: (count, count, K / heads)."""
        cells = tf.range(count)
        largest = self.window or self.side
        return tf.gather(tf.cast(table, self.compute_dtype), cells[:, None] - cells + largest - 1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("num_heads", "window", "side")}
        return {**super().get_config(), **own}
