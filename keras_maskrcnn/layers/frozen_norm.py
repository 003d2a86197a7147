"""Batch norm that stays a fixed affine map, for networks whose layers are not `ConvNorm`."""

from typing import Any

import keras

from keras_maskrcnn.layers.conv import BatchNorm


@keras.saving.register_keras_serializable(package="keras_maskrcnn")
class FrozenBatchNorm(BatchNorm):
    """Batch norm with the statistics and weights that were loaded, also in training (§3.1).

    It stays frozen when a network that it is in is unfrozen, as the "frozen_batch" norm of
    `ConvNorm` does.

    Args:
        **kwargs: arguments of keras.layers.BatchNormalization.

    Call: (B, H, W, K) float -> the same shape.
    """

    norm_name = "frozen_batch"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})

    @keras.layers.Layer.trainable.setter
    def trainable(self, value: bool) -> None:
        """Stays False, whatever is set."""
        keras.layers.Layer.trainable.fset(self, False)
