"""Mask R-CNN for Keras 3 on TensorFlow."""

from keras_maskrcnn._version import __version__ as __version__
from keras_maskrcnn.backend import require_tensorflow
from keras_maskrcnn.failed_imports import told
from keras_maskrcnn.quiet import start_command

start_command()
with told():
    require_tensorflow()
    from keras_maskrcnn import data, distribution, ops, training, visualize, weights
    from keras_maskrcnn.config import MaskRCNNConfig
    from keras_maskrcnn.data import DataError
    from keras_maskrcnn.detections import predict_image
    from keras_maskrcnn.evaluation import CocoEvaluation, average_recall, evaluate, propose
    from keras_maskrcnn.explaining import explain
    from keras_maskrcnn.model import MaskRCNN
    from keras_maskrcnn.presets import PRESETS, preset_config

__all__ = [
    "PRESETS",
    "CocoEvaluation",
    "DataError",
    "MaskRCNN",
    "MaskRCNNConfig",
    "average_recall",
    "data",
    "distribution",
    "evaluate",
    "explain",
    "ops",
    "predict_image",
    "preset_config",
    "propose",
    "training",
    "visualize",
    "weights",
]
