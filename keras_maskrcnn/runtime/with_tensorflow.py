"""Runs SavedModel folders with TensorFlow."""

import os
import re
from collections.abc import Mapping

import numpy as np

from keras_maskrcnn.runtime.description import no_description
from keras_maskrcnn.typing import Path

_LINE = re.compile(r"assertion failed: \[(.*Received: .*\.)\]", re.DOTALL)


def saved_model_folder(path: Path) -> str | None:
    """Returns the SavedModel in a folder, or its newest version; None if there is none."""
    path = os.fspath(path)
    if os.path.isfile(os.path.join(path, "saved_model.pb")):
        return path
    versions = os.listdir(path) if os.path.isdir(path) else []
    versions = [
        name
        for name in versions
        if name.isdecimal() and os.path.isfile(os.path.join(path, name, "saved_model.pb"))
    ]
    return os.path.join(path, max(versions, key=int)) if versions else None


class TensorFlow:
    """A SavedModel in TensorFlow. Its signature `serving_default` is called.

    Args:
        path: str. A SavedModel, or a folder of versions whose names are numbers.
        threads: int or None. Threads of an operation, for all of this process; None: one per core.
    """

    def __init__(self, path: str, threads: int | None) -> None:
        import tensorflow as tf

        folder = saved_model_folder(path)
        assert folder is not None  # `ExportedModel` has looked
        described = os.path.join(folder, "assets.extra", "model.json")
        if not os.path.isfile(described):
            raise no_description(folder, "assets.extra/model.json")
        with open(described, encoding="utf-8") as file:
            self.description = file.read()
        if threads is not None:
            _set_threads(threads)
        self._tf, self._loaded = tf, tf.saved_model.load(folder)
        self._function = self._loaded.signatures["serving_default"]
        self.inputs = list(self._function.structured_input_signature[1])
        self.defaults: list[str] = []
        self.outputs = list(self._function.structured_outputs)

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name for inputs by name."""
        try:
            given = {name: self._tf.constant(value) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in self._function(**given).items()}
        except self._tf.errors.InvalidArgumentError as error:  # of export/requests.py
            found = _LINE.search(error.message)
            if found is None:
                raise
            raise ValueError(found[1]) from None


def _set_threads(threads):
    from tensorflow.config.threading import (
        get_intra_op_parallelism_threads,
        set_inter_op_parallelism_threads,
        set_intra_op_parallelism_threads,
    )

    if get_intra_op_parallelism_threads() == threads:
        return
    try:
        set_intra_op_parallelism_threads(threads)
        set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise ValueError(
            "TensorFlow takes a number of threads only before its first operation in a process. "
            f"Received: threads={threads}."
        ) from error
