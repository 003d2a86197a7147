"""Loads weights of other frameworks, and of models that were trained before."""

from keras_maskrcnn.weights.checkpoint import CheckpointError, read_checkpoint
from keras_maskrcnn.weights.load import (
    LOADERS,
    load_detectron2,
    load_for_preset,
    load_keras_applications,
    load_matterport,
    load_torchvision,
)
from keras_maskrcnn.weights.own import start_from
from keras_maskrcnn.weights.published import (
    KERAS_CONVENTIONS,
    imagenet_fields,
    keras_conventions,
)
from keras_maskrcnn.weights.report import Report

__all__ = [
    "KERAS_CONVENTIONS",
    "LOADERS",
    "CheckpointError",
    "Report",
    "imagenet_fields",
    "keras_conventions",
    "load_detectron2",
    "load_for_preset",
    "load_keras_applications",
    "load_matterport",
    "load_torchvision",
    "read_checkpoint",
    "start_from",
]
