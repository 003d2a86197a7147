"""Exports a model for TensorFlow Serving (SavedModel), ONNX Runtime, OpenVINO and LiteRT."""

from keras_maskrcnn.aliases import moved
from keras_maskrcnn.export.litert import export_litert
from keras_maskrcnn.export.onnx import export_onnx
from keras_maskrcnn.export.openvino import export_openvino
from keras_maskrcnn.export.saved_model import export_saved_model

__all__ = ["export_litert", "export_onnx", "export_openvino", "export_saved_model"]
__getattr__ = moved(
    __name__,
    {
        "masks": "keras_maskrcnn.export.paste_in_graph",
        "portable": "keras_maskrcnn.export.portable_model",
        "rle": "keras_maskrcnn.export.rle_in_graph",
    },
)
