"""Saves models as Keras does, but never leaves half a file, and exports them."""

import inspect
import os
from collections.abc import Callable
from typing import Any

import keras

from keras_maskrcnn import export, files
from keras_maskrcnn.typing import Path

EXPORTERS: dict[str, Callable[..., None]] = {
    "tf_saved_model": export.export_saved_model,
    "onnx": export.export_onnx,
    "openvino": export.export_openvino,
    "litert": export.export_litert,
}


class WholeFiles(keras.Model):
    """Overrides `save`, `save_weights` and `export` of keras.Model."""

    def save(self, filepath: Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the model as Keras does. An old .keras file stays until the new one is complete.

        Args:
            filepath: str or PathLike.
            overwrite: bool. Whether to replace an existing file without asking.
            **kwargs: further arguments of `keras.Model.save`.
        """
        if kwargs or not (overwrite and _is_local(filepath, ".keras")):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save(new)

    def save_weights(self, filepath: Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the weights as Keras does. An old file stays until the new one is complete.

        Args:
            filepath: str or PathLike. Ends in .weights.h5.
            overwrite: bool. Whether to replace an existing file without asking.
            **kwargs: further arguments of `keras.Model.save_weights`.
        """
        if kwargs or not (overwrite and _is_local(filepath, ".weights.h5")):
            return super().save_weights(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save_weights(new)

    def export(self, filepath: Path, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Exports the model for other programs.

        Args:
            filepath: str or PathLike. A folder for "tf_saved_model", a file for all others.
            format: str. "tf_saved_model", "onnx", "openvino" or "litert".
            **kwargs: arguments of `export.export_saved_model`, `export_onnx`, `export_openvino` or
                `export_litert`.

        Raises:
            ValueError: if there is no such format, or the format has no such argument.
        """
        if format not in EXPORTERS:
            raise ValueError(
                f"format must be one of {', '.join(EXPORTERS)}. Received: format={format!r}."
            )
        if kwargs.get("input_signature", ()) is None:  # Keras' default
            del kwargs["input_signature"]
        _, _, *known = inspect.signature(EXPORTERS[format]).parameters
        for name in kwargs.keys() - set(known):
            raise ValueError(
                f"an export as {format} has fixed inputs; its arguments are {', '.join(known)}. "
                f"Received: {name}."
            )
        EXPORTERS[format](self, filepath, **kwargs)


def _is_local(path, suffix):
    """Whether a path has this suffix and is in a local folder, not for instance at gs://."""
    path = str(path)
    return path.endswith(suffix) and os.path.isdir(os.path.dirname(os.path.abspath(path)))
