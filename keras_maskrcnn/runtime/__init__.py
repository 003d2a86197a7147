"""Runs exported models with NumPy, Pillow and a runtime; needs neither TensorFlow nor Keras.

The runtimes are ONNX Runtime (.onnx files), OpenVINO (.xml and .onnx files) and TensorFlow
(SavedModel folders, which need TensorFlow, but not Keras).
"""

from keras_maskrcnn.runtime.exported_model import RUNTIMES, ExportedModel, is_exported

__all__ = ["RUNTIMES", "ExportedModel", "is_exported"]
