"""Exports a model for ONNX Runtime with tf2onnx."""

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

    Inputs are `images`, float32 (B, H, W, 3), RGB in 0..255, padded with zeros on the right and
    below, and `sizes`, int32 (B, 2), height and width without padding. Outputs are those of
    `model.predict`, with boxes in pixels of `images`. See docs/runtimes.md.

    The export needs tf2onnx, in the extra `onnx`; running the file does not.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write.
        image_size: (height, width), multiples of config.padding_multiple. A client resizes and
            pads its images to this size.
        batch_size: int. Images per request.
        opset_version: int. Version of ONNX' set of operations.
        verbose: bool. Whether to print the path of the file.

    Raises:
        FileExistsError: if the file exists.
        ImportError: if tf2onnx is not installed.
        ValueError: if `image_size` or `batch_size` is not allowed, or the model takes proposals or
            has RoIPool.
    """

    def write(function, signature, path):
        try:
            import tf2onnx
        except ModuleNotFoundError as error:
            raise ImportError(
                f"ONNX needs the extra onnx: pip install keras3-maskrcnn[onnx]. Received: {error}."
            ) from error
        tf2onnx.convert.from_function(function, signature, opset=opset_version, output_path=path)

    export_portable(
        model, filepath, write, image_size=image_size, batch_size=batch_size, verbose=verbose
    )
