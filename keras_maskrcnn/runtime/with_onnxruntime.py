"""Runs .onnx files with ONNX Runtime."""

import os
from collections.abc import Mapping

import numpy as np

from keras_maskrcnn.runtime.description import KEY, no_description


class OnnxRuntime:
    """An ONNX file in ONNX Runtime, on the CPU.

    Args:
        path: str. The file.
        threads: int or None. Threads of an operation; None: one per core.
    """

    def __init__(self, path: str, threads: int | None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # It would warn that the inputs with defaults may be overridden, which is what they are for.
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=["CPUExecutionProvider"]
        )
        metadata = self._session.get_modelmeta().custom_metadata_map
        if KEY not in metadata:
            raise no_description(path, f"metadata property {KEY!r}")
        self.description: str = metadata[KEY]
        self.inputs = [x.name for x in self._session.get_inputs()]
        self.defaults = [x.name for x in self._session.get_overridable_initializers()]
        self.outputs = [x.name for x in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name for inputs by name."""
        found = self._session.run(self.outputs, dict(inputs))
        return dict(zip(self.outputs, found, strict=True))
