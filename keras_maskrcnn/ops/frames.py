"""Where the boxes of a network end: after their last pixel, or on it.

All boxes of this package are exclusive: a box of one pixel has x2 = x1 + 1. Matterport's networks
speak of inclusive boxes, x2 = x1. A `Frame` translates at the border of a network, so that nothing
else need know.
"""

from typing import Self

import tensorflow as tf


class Frame:
    """The convention of a network.

    Args:
        inclusive: bool. Whether x2 and y2 of its boxes are their last pixel.
    """

    def __init__(self, inclusive: bool = False) -> None:
        self.inclusive = inclusive

    @classmethod
    def of(cls, anchor_rule: str) -> Self:
        """Makes the frame of a config's `anchor_rule`: Matterport's boxes are inclusive."""
        return cls(inclusive=anchor_rule == "matterport")

    def from_exclusive(self, boxes: tf.Tensor, filled: tf.Tensor | None = None) -> tf.Tensor:
        """Turns boxes of this package into those of the network.

        Args:
            boxes: (..., 4) float32 [x1, y1, x2, y2].
            filled: (...) bool. Which are no padding, which stays as it is; None for all.

        Returns:
            (..., 4) float32.
        """
        return tf.subtract(boxes, self._corner(filled)) if self.inclusive else boxes

    def to_exclusive(self, boxes: tf.Tensor, filled: tf.Tensor | None = None) -> tf.Tensor:
        """Turns boxes of the network into those of this package: the inverse."""
        return tf.add(boxes, self._corner(filled)) if self.inclusive else boxes

    def borders(self, sizes: tf.Tensor) -> tf.Tensor:
        """Returns the largest x2 and y2 in images of `sizes` (B, 2) int32."""
        return sizes - 1 if self.inclusive else sizes

    def _corner(self, filled):
        corner = tf.constant([0.0, 0.0, 1.0, 1.0])
        return corner if filled is None else tf.cast(filled, tf.float32)[..., None] * corner
