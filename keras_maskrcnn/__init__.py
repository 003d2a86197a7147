"""Mask R-CNN for Keras 3 on TensorFlow.

The names below are imported when they are first used: `keras_maskrcnn.runtime` runs exported models
without TensorFlow.
"""

from typing import TYPE_CHECKING

from keras_maskrcnn._version import __version__ as __version__
from keras_maskrcnn.backend import require_tensorflow
from keras_maskrcnn.on_demand import names_on_demand
from keras_maskrcnn.quiet import start_command
from keras_maskrcnn.registration import register_with_keras

if TYPE_CHECKING:
    from keras_maskrcnn import (
        analysis,
        backbones,
        data,
        distribution,
        ops,
        training,
        visualize,
        weights,
    )
    from keras_maskrcnn.config import MaskRCNNConfig
    from keras_maskrcnn.data import DataError
    from keras_maskrcnn.detections import predict_image
    from keras_maskrcnn.evaluation import CocoEvaluation, average_recall, evaluate, propose
    from keras_maskrcnn.explaining import explain
    from keras_maskrcnn.model import MaskRCNN
    from keras_maskrcnn.presets import PRESETS, preset_config
    from keras_maskrcnn.tiling import predict_large

__all__ = [
    "PRESETS",
    "CocoEvaluation",
    "DataError",
    "MaskRCNN",
    "MaskRCNNConfig",
    "analysis",
    "average_recall",
    "backbones",
    "data",
    "distribution",
    "evaluate",
    "explain",
    "ops",
    "predict_image",
    "predict_large",
    "preset_config",
    "propose",
    "training",
    "visualize",
    "weights",
]

_KERAS = ("backbones", "distribution", "evaluation", "explaining", "model", "training", "weights")


def _refuse_another_backend(module):
    if module in _KERAS:
        require_tensorflow()


__getattr__, __dir__ = names_on_demand(
    __name__,
    {
        "config": ["MaskRCNNConfig"],
        "data": ["DataError"],
        "detections": ["predict_image"],
        "evaluation": ["CocoEvaluation", "average_recall", "evaluate", "propose"],
        "explaining": ["explain"],
        "model": ["MaskRCNN"],
        "tiling": ["predict_large"],
        "presets": ["PRESETS", "preset_config"],
    },
    before=_refuse_another_backend,
)
start_command()
register_with_keras()
