"""Converts boxes between this package and networks whose boxes include their last pixel.

All boxes of this package are exclusive: a box of one pixel has x2 = x1 + 1. Matterport's networks
work with inclusive boxes, where x2 = x1. A `Frame` converts boxes where they enter and leave a
network, so that the rest of the code sees exclusive boxes only.
"""

from typing import Self

import tensorflow as tf


class Frame:
    """A network's convention of where boxes end.

    Args:
        inclusive: bool. Whether x2 and y2 of the network's boxes are their last pixel.
    """

    def __init__(self, inclusive: bool = False) -> None:
        self.inclusive = inclusive

    @classmethod
    def of(cls, anchor_rule: str) -> Self:
        """Makes the frame of a config's `anchor_rule`: Matterport's boxes are inclusive."""
        return cls(inclusive=anchor_rule == "matterport")

    def from_exclusive(self, boxes: tf.Tensor, filled: tf.Tensor | None = None) -> tf.Tensor:
        """Converts boxes of this package to those of the network.

        Args:
            boxes: (..., 4) float32 [x1, y1, x2, y2].
            filled: (...) bool. False for padding, which is not changed; None if there is none.

        Returns:
            (..., 4) float32.
        """
        return tf.subtract(boxes, self._corner(filled)) if self.inclusive else boxes

    def to_exclusive(self, boxes: tf.Tensor, filled: tf.Tensor | None = None) -> tf.Tensor:
        """Converts boxes of the network to those of this package: inverts `from_exclusive`."""
        return tf.add(boxes, self._corner(filled)) if self.inclusive else boxes

    def borders(self, sizes: tf.Tensor) -> tf.Tensor:
        """Returns the largest x2 and y2 in images of `sizes` (B, 2) int32."""
        return sizes - 1 if self.inclusive else sizes

    def _corner(self, filled):
        corner = tf.constant([0.0, 0.0, 1.0, 1.0])
        return corner if filled is None else tf.cast(filled, tf.float32)[..., None] * corner
