"""Writes a model for LiteRT (TensorFlow Lite), through Keras' exporter."""

import keras
import tensorflow as tf

from keras_maskrcnn.export.portable_model import export_portable
from keras_maskrcnn.typing import Path


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

    Inputs and outputs are those of `export.portable_model.PortableModel`, by name.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write; it ends with ".tflite".
        image_size: (height, width), multiples of config.padding_multiple, to which a client
            resizes and pads.
        batch_size: int. Images per request.
        precision: "float32", or "int8": kernels are stored in 8 bits ("dynamic range" of LiteRT,
            which also rounds what they are multiplied with): a quarter of the size, other
            detections.
        verbose: bool. Whether to print where it went.

    Raises:
        FileExistsError: if there is such a file.
        ValueError: if `filepath`, `image_size`, `batch_size` or `precision` is not as said, or the
            model takes proposals or has RoIPool.
    """
    if precision not in ("float32", "int8"):
        raise ValueError(
            f"precision of litert must be float32 or int8. Received: precision={precision!r}."
        )
    export_portable(
        model,
        filepath,
        "litert",
        image_size=image_size,
        batch_size=batch_size,
        verbose=verbose,
        # Keras' default also allows operations of TensorFlow, which most devices do not have.
        target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]},
        optimizations=[tf.lite.Optimize.DEFAULT] if precision == "int8" else [],
    )
