"""Writes a model for ONNX Runtime, through Keras' exporter and tf2onnx."""

from keras_maskrcnn.export.portable import export_portable


def export_onnx(model, filepath, *, image_size, batch_size=1, opset_version=18, verbose=True):
    """Exports a model as an ONNX file, for images of one size.

    Inputs and outputs are those of `export.portable.PortableModel`, by name. It needs tf2onnx, in
    the extra `onnx`; the file does not.

    Args:
        model: a `MaskRCNN`.
        filepath: str. The file to write.
        image_size: (height, width), multiples of config.padding_multiple, to which a client
            resizes and pads.
        batch_size: int. Images a request.
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
