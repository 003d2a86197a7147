"""Writes a model for ONNX Runtime, through Keras' exporter and tf2onnx."""

import keras

from keras_maskrcnn.export.portable_model import export_portable
from keras_maskrcnn.typing import Path


def export_onnx(
    model: keras.Model,
    filepath: Path,
    *,
    image_size: tuple[int, int],
    batch_size: int = 1,
    opset_version: int = 18,
    verbose: bool = True,
) -> None:
    """Exports a model as an ONNX file, for images of one size.

    Inputs and outputs are those of `export.portable_model.PortableModel`, by name. It needs
    tf2onnx, in the extra `onnx`; the file does not.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write.
        image_size: (height, width), multiples of config.padding_multiple, to which a client
            resizes and pads.
        batch_size: int. Images per request.
        opset_version: int. Version of ONNX' operations.
        verbose: bool. Whether to print where it went.

    Raises:
        FileExistsError: if there is such a file.
        ImportError: if tf2onnx is not installed.
        ValueError: if `image_size` or `batch_size` is not as said, or the model takes proposals or
            has RoIPool.
    """
    try:
        export_portable(
            model,
            filepath,
            "onnx",
            image_size=image_size,
            batch_size=batch_size,
            verbose=verbose,
            opset_version=opset_version,
        )
    except ModuleNotFoundError as error:
        raise ImportError(
            f"ONNX needs the extra onnx: pip install keras3-maskrcnn[onnx]. Received: {error}."
        ) from error
