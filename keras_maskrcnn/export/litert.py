"""Exports a model for LiteRT (TensorFlow Lite)."""

import functools

import keras
import tensorflow as tf

from keras_maskrcnn.export.portable_model import export_portable, require_suffix
from keras_maskrcnn.typing import Path

PRECISIONS = ("float32", "float16", "int8")


def export_litert(
    model: keras.Model,
    filepath: Path,
    *,
    image_size: tuple[int, int],
    batch_size: int = 1,
    precision: str = "float32",
    verbose: bool = True,
) -> None:
    """Exports a model as a .tflite file of built-in operations, for images of one size.

    Inputs and outputs are those of `export_onnx`.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write; the name must end with ".tflite".
        image_size: (height, width), multiples of config.padding_multiple. A client resizes and
            pads its images to this size.
        batch_size: int. Images per request.
        precision: "float32", "float16" or "int8". "float16" stores weights in half precision. The
            file has half the size; it computes in float32, except on devices with a GPU delegate.
            "int8" is LiteRT's "dynamic range": kernels are stored in 8 bits, and the values that
            they are multiplied with are rounded too. The file has a quarter of the size, and
            detections differ.
        verbose: bool. Whether to print the path of the file.

    Raises:
        FileExistsError: if the file exists.
        ValueError: if `filepath`, `image_size`, `batch_size` or `precision` is not allowed, or the
            model takes proposals or has RoIPool.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision of litert must be one of {', '.join(PRECISIONS)}. "
            f"Received: precision={precision!r}."
        )
    require_suffix(filepath, ".tflite", "a LiteRT")
    export_portable(
        model,
        filepath,
        functools.partial(_write, precision=precision),
        image_size=image_size,
        batch_size=batch_size,
        verbose=verbose,
    )


def _write(function, signature, path, precision):
    """Writes a function with built-in operations only; most devices lack those of TensorFlow."""
    traced, kept = function.get_concrete_function(*signature), tf.Module()
    kept.variables_of_function = traced.variables
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], kept)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with open(path, "wb") as file:
        file.write(converter.convert())
