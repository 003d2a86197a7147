"""Base of the RoI layers: chooses the pyramid level that each box is pooled from (FPN Eq. 1)."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops


def roi_levels(
    boxes: tf.Tensor, num_levels: int, canonical_size: float = 224.0, rule: str = "detectron2"
) -> tf.Tensor:
    """Returns the pyramid level that each RoI is pooled from (FPN Eq. 1, k0 = 4).

    Args:
        boxes: (..., 4) float32 in image pixels.
        num_levels: int. Number of levels, P2 being the first.
        canonical_size: float. A square RoI with this side belongs to P4.
        rule: "detectron2", "torchvision" or "matterport". Against rounding errors, detectron2 adds
            1e-8 inside the logarithm and torchvision 1e-6 outside it; both round the level down.
            "matterport" rounds it to the nearest level.

    Returns:
        int32 in the shape (...), from 0 (P2) to num_levels - 1. An empty box gets 0.
    """
    side = tf.sqrt(box_ops.area(boxes))
    inside, outside = (0.0, 1e-6) if rule == "torchvision" else (1e-8, 0.0)
    octave = tf.math.log(side / canonical_size + inside) / math.log(2.0)
    level = 4.0 + octave + outside  # -inf for an empty box, which thus gets the finest level
    level = (tf.round(level) if rule == "matterport" else tf.floor(level)) - 2.0
    return tf.cast(tf.clip_by_value(level, 0.0, num_levels - 1.0), tf.int32)


def takes_owners(layer: keras.layers.Layer) -> bool:
    """Returns whether a RoI layer takes the boxes of all images as one list; see `RoILayer`."""
    functions = [layer.call, getattr(layer, "pool", layer.call)]
    return all("owners" in inspect.signature(function).parameters for function in functions)


class RoILayer(keras.layers.Layer):
    """Base class of the RoI layers: chooses the level of each box (FPN Eq. 1).

    Subclasses implement `pool(features, boxes, levels, owners=None)`. They may leave out `owners`;
    `takes_owners` is then False.

    Args:
        output_size: int m. Bins per side.
        strides: L numbers. Image pixels per cell of each map, finest first.
        canonical_size, level_rule: as in `roi_levels`.

    Call: list of L (B, Hl, Wl, K), boxes (B, R, 4) -> (B, R, m, m, K). With a third argument
    `owners`, (n,) int32, the boxes of all images are one list: boxes (n, 4) -> (n, m, m, K). The
    owner of a box is the index of its image.

    Raises:
        ValueError: if `output_size` is below 1.
    """

    def __init__(
        self,
        output_size: int,
        strides: Sequence[float],
        canonical_size: float = 224.0,
        level_rule: str = "detectron2",
        **kwargs: Any,
    ) -> None:
        # Autocasting would round the boxes to bfloat16, an error of up to 4 pixels near 1000.
        super().__init__(**{"autocast": False, **kwargs})
        if output_size < 1:
            raise ValueError(f"output_size must be positive. Received: output_size={output_size}.")
        self.output_size, self.strides = output_size, tuple(strides)
        self.canonical_size, self.level_rule = canonical_size, level_rule
        # XLA has neither CropAndResize nor shapes that depend on the values of boxes.
        self.supports_jit = False
        self.built = True  # no weights

    def call(
        self, features: Sequence[tf.Tensor], boxes: tf.Tensor, owners: tf.Tensor | None = None
    ) -> tf.Tensor:
        canonical_size = self.canonical_size
        if self.level_rule == "matterport":  # it divides boxes by the canvas's sides minus 1
            canvas = tf.cast(tf.shape(features[0])[1:3] * self.strides[0], tf.float32)
            canonical_size *= tf.sqrt(tf.reduce_prod((canvas - 1) / canvas))
        levels = roi_levels(boxes, len(self.strides), canonical_size, self.level_rule)
        features = [tf.cast(f, self.compute_dtype) for f in features]
        more = {} if owners is None else {"owners": owners}  # `pool` of a subclass may lack it
        return self.pool(features, boxes, levels, **more)

    def compute_output_shape(
        self,
        features_shape: Sequence[tuple[int | None, ...]],
        boxes_shape: tuple[int | None, ...],
        owners_shape: tuple[int | None, ...] | None = None,
    ) -> tuple[int | None, ...]:
        return (*boxes_shape[:-1], self.output_size, self.output_size, features_shape[0][-1])

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "output_size": self.output_size,
            "strides": self.strides,
            "canonical_size": self.canonical_size,
            "level_rule": self.level_rule,
        }


def per_roi(head: keras.Model, pooled: tf.Tensor, training: bool = False) -> Any:
    """Applies a network to the RoIs of all images as one batch.

    Args:
        head: Keras model with one or several outputs.
        pooled: (B, R, m, m, K) float, or (n, m, m, K).
        training: bool. Whether batch norm uses the batch's statistics.

    Returns:
        (B, R, ...), or (n, ...), the output; or a list of several outputs.
    """
    leading = tf.unstack(tf.shape(pooled)[:-3])
    outputs = head(tf.reshape(pooled, [-1, *pooled.shape[-3:]]), training=training)
    split = [tf.reshape(x, [*leading, *x.shape[1:]]) for x in tf.nest.flatten(outputs)]
    return split if len(split) > 1 else split[0]
