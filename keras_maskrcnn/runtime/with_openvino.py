"""Runs .xml and .onnx files with OpenVINO."""

import json
import os
import threading
from collections.abc import Mapping

import numpy as np

from keras_maskrcnn.runtime.description import KEY, no_description

_PLACES = ([KEY], ["framework", KEY])  # of an IR; of an ONNX file, whose metadata OpenVINO moves


class OpenVino:
    """An OpenVINO IR, or an ONNX file in OpenVINO, on the CPU.

    Args:
        path: str. The file.
        threads: int or None. Threads of a request; None: OpenVINO chooses.
    """

    def __init__(self, path: str, threads: int | None) -> None:
        import openvino

        model = openvino.Core().read_model(os.fspath(path))
        places = [place for place in _PLACES if model.has_rt_info(place)]
        if not places:
            raise no_description(path, f"entry {KEY!r} in its rt_info")
        self.description: str = model.get_rt_info(places[0]).astype(str)
        self.inputs = [_name(x) for x in model.inputs]
        self.defaults = [name for name in self.inputs if name != "images"]
        self.outputs = [_name(x) for x in model.outputs]
        # OpenVINO computes float32 files in bfloat16 by itself on CPUs that have it.
        half = _precision(self.description) == "bfloat16"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        compiled = openvino.compile_model(model, "CPU", settings)
        self._request, self._lock = compiled.create_infer_request(), threading.Lock()

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the outputs by name for inputs by name."""
        with self._lock:  # a request has one set of outputs
            self._request.infer(dict(inputs))
            return {name: self._request.get_tensor(name).data.copy() for name in self.outputs}


def _name(port):
    """Returns the name that a file gives to an input or output.

    Some versions of OpenVINO add the names of nodes, which have a "/".
    """
    return next((name for name in port.names if "/" not in name), port.any_name)


def _precision(description):
    """Returns the precision in a description; None if it is damaged, which is told elsewhere."""
    try:
        return json.loads(description).get("precision")
    except (ValueError, RecursionError, AttributeError):
        return None
