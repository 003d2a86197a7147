"""Weights of other frameworks."""

from keras_maskrcnn.weights.checkpoint import CheckpointError, read_checkpoint

__all__ = ["CheckpointError", "read_checkpoint"]
