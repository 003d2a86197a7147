"""How a model is written: as Keras writes it, but never half; and for other programs."""

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
    "litert": export.export_litert,
}


class WholeFiles(keras.Model):
    """`save`, `save_weights` and `export` of keras.Model."""

    def save(self, filepath: Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Keras' own; but a .keras file that is replaced stays until the new one is complete."""
        if kwargs or not (overwrite and _is_local(filepath, ".keras")):
            return super().save(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save(new)

    def save_weights(self, filepath: Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Keras' own; but a .weights.h5 file stays until the new one is complete."""
        if kwargs or not (overwrite and _is_local(filepath, ".weights.h5")):
            return super().save_weights(filepath, overwrite=overwrite, **kwargs)
        with files.replacing(filepath) as new:
            super().save_weights(new)

    def export(self, filepath: Path, format: str = "tf_saved_model", **kwargs: Any) -> None:
        """Writes the model for other programs.

        Args:
            filepath: str. A folder, or a file for "onnx" and "litert".
            format: "tf_saved_model", "onnx" or "litert".
            **kwargs: of `export.export_saved_model`, `export_onnx` or `export_litert`.

        Raises:
            ValueError: if there is no such format, or it has no such argument.
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
                f"an export as {format} has fixed inputs, and takes {', '.join(known)}. "
                f"Received: {name}."
            )
        EXPORTERS[format](self, filepath, **kwargs)


def _is_local(path, suffix):
    """Whether a path ends so, and lies in a folder of this machine: not gs://, say."""
    path = str(path)
    return path.endswith(suffix) and os.path.isdir(os.path.dirname(os.path.abspath(path)))
