"""The class that runs an exported model."""

import copy
import dataclasses
import importlib
import os
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from keras_maskrcnn.detections import predict_image
from keras_maskrcnn.runtime.description import read_description
from keras_maskrcnn.runtime.with_onnxruntime import OnnxRuntime
from keras_maskrcnn.runtime.with_openvino import OpenVino
from keras_maskrcnn.runtime.with_tensorflow import TensorFlow, saved_model_folder
from keras_maskrcnn.typing import Orientation, Path

RUNTIMES = ("onnxruntime", "openvino", "tensorflow")
"""Names of the runtimes, which are those of their Python packages."""

_CLASSES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "tensorflow": TensorFlow}
_OF_SUFFIX = {".onnx": ("onnxruntime", "openvino"), ".xml": ("openvino",)}  # the default first
_BOXES = {"boxes", "scores", "labels", "num_detections"}
_OUTPUTS = {  # of each `config.task`
    "masks": {*_BOXES, "masks"},
    "boxes": _BOXES,
    "proposals": {"boxes", "scores", "num_proposals"},
}
_EXTRAS = {"onnxruntime": "onnx", "openvino": "openvino"}


class ExportedModel:
    """A model that `model.export` wrote, for prediction on the CPU.

    It gives what `predict_image` and `model.predict` give for the model itself. `evaluate` of this
    package takes it too.

    Args:
        path: str. A .onnx file, an OpenVINO .xml file with its .bin file beside it, or a SavedModel
            folder. Of a folder of versions, whose names are numbers, the newest is taken.
        runtime: "onnxruntime", "openvino" or "tensorflow". None: the first that can run the file.
            Only a .onnx file has a choice: ONNX Runtime, or OpenVINO.
        threads: int. Threads of the runtime. None: the runtime chooses. TensorFlow takes a number
            only before its first operation, and for the whole process.
        score_threshold: float in [0, 1]. Replaces the value in the file, as `nms_iou` and
            `detections_per_image` do. Only ONNX Runtime can, for files that take them as inputs.
        nms_iou: float in [0, 1].
        detections_per_image: int.

    Several threads may call one object; OpenVINO runs their images one after the other. A pickled
    or deeply copied object opens its file again.

    Attributes:
        path: str. As given.
        runtime: str. The runtime that is used.
        description: dict. What `model.export` wrote about the model: classes, config, precision,
            versions.
        config: MaskRCNNConfig of the model, with the replaced values.
        replaceable: tuple of str. Names of the config's fields that can be replaced.
        class_names: tuple of str. Name of each class, label 1 first.
        category_ids: tuple of int. Id of each class in the annotation file, label 1 first.
        class_thresholds: tuple of float. Lowest score of each class, label 1 first; empty if the
            exported model had none. They are fixed in the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, of another kind or not of this package, or an argument
            is not allowed.
        ImportError: if the runtime is not installed.
    """

    def __init__(
        self,
        path: Path,
        *,
        runtime: Literal["onnxruntime", "openvino", "tensorflow"] | None = None,
        threads: int | None = None,
        score_threshold: float | None = None,
        nms_iou: float | None = None,
        detections_per_image: int | None = None,
    ) -> None:
        self.path, self.runtime = os.fspath(path), _choose(path, runtime)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(
                f"threads must be a whole number of at least 1. Received: threads={threads!r}."
            )
        self._threads = threads
        self._file = _open(self.path, self.runtime, threads)
        self.description, self.config = read_description(self.path, self._file.description)
        self.class_names, self.category_ids = self.config.names(), self.config.ids()
        self.class_thresholds = self.config.class_thresholds
        if set(self._file.inputs) - set(self._file.defaults) != {"images"}:
            raise ValueError(
                f"{self.path} takes more than images, or images of one size only; export the model "
                f"without image_size and with its RPN. Received: inputs={self._file.inputs}."
            )
        if (masks := self.description.get("masks", "soft")) != "soft":
            raise ValueError(
                f"{self.path} gives masks in another form; export the model with masks='soft'. "
                f"Received: masks={masks!r}."
            )
        lacking = _OUTPUTS[self.config.task] - set(self._file.outputs)
        if lacking:
            raise ValueError(
                f"{self.path} lacks outputs of a model with task={self.config.task!r}. "
                f"Received: outputs={self._file.outputs}."
            )
        self.replaceable = (*self._file.defaults, "mask_paste")
        self._given: dict[str, np.ndarray] = {}  # values for inputs with defaults
        given = {
            "score_threshold": score_threshold,
            "nms_iou": nms_iou,
            "detections_per_image": detections_per_image,
        }
        self._replace({name: value for name, value in given.items() if value is not None})

    def with_config(self, **fields: Any) -> Self:
        """Returns the same model with other values of config fields, as `MaskRCNN.with_config`.

        Args:
            **fields: values of fields in `replaceable`.

        Raises:
            TypeError: if there is no such field.
            ValueError: if a value is not allowed, or is fixed in the file.
        """
        other = copy.copy(self)
        other._replace(fields)
        return other

    def __copy__(self) -> Self:
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Sessions of the runtimes cannot be pickled; the file can be opened again.
        return {name: value for name, value in self.__dict__.items() if name != "_file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = _open(self.path, self.runtime, self._threads)

    def _replace(self, fields):
        config = dataclasses.replace(self.config, **fields)
        for name, value in fields.items():
            if name not in self.replaceable:
                raise ValueError(
                    f"{self.path} has a fixed {name} in {self.runtime}; export the model again, "
                    f"from model.with_config({name}=...). Received: {name}={value!r}."
                )
        self.config = config
        given = {
            name: np.array([value], np.int64 if name == "detections_per_image" else np.float32)
            for name, value in fields.items()
            if name in self._file.defaults
        }
        self._given = {**self._given, **given}

    def predict(
        self,
        image: np.ndarray | Image.Image | Path,
        score_threshold: float = 0.0,
        *,
        orientation: Orientation = "ignore",
    ) -> dict[str, Any]:
        """Finds the objects in one image, and pastes their masks into it.

        Args:
            image: array, a PIL image, or the path of an image file, as in `predict_image`.
            score_threshold: float in [0, 1]. Detections with a lower score are left out.
            orientation: as in `predict_image`.

        Returns:
            dict of boxes (n, 4), scores (n,), labels (n,), masks (n, H, W) bool and class_names, as
                from `predict_image`; n may be 0.

        Raises:
            ValueError: if the image or the threshold is not as above, or the model is an RPN alone.
            DataError: if an image file cannot be read.
        """
        return predict_image(self, image, score_threshold=score_threshold, orientation=orientation)

    def predict_on_batch(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the model on images of one size.

        Args:
            images: (B, H, W, C) of config.image_dtype, in units of config.pixel_max: by default
                (B, H, W, 3) uint8, RGB.

        Returns:
            dict of the outputs of `model.predict`, padded with zeros: boxes (B, D, 4) in pixels of
                `images`, scores (B, D), labels (B, D), masks (B, D, m, m) and num_detections (B,).

        Raises:
            ValueError: if the images are not as above.
            RuntimeError: if the runtime fails.
            MemoryError: if there is not enough memory.
        """
        shape, dtype = getattr(images, "shape", None), getattr(images, "dtype", None)
        channels, expected = self.config.in_channels, self.config.image_dtype
        wrong = shape is None or len(shape) != 4 or shape[3] != channels or 0 in shape
        if wrong or dtype != expected:
            received = f"shape={shape}, dtype={dtype}" if shape is not None else type(images)
            raise ValueError(
                f"images must be a (B, H, W, {channels}) {expected} array of at least one pixel. "
                f"Received: {received}."
            )
        try:
            return self._file.run({"images": np.ascontiguousarray(images), **self._given})
        except ValueError:
            raise
        except Exception as error:  # runtimes raise errors of their own
            line = f"{self.runtime} cannot run {self.path} on shape={shape}: {_one_line(error)}"
            if "alloc" in line.lower():
                raise MemoryError(line) from error
            raise RuntimeError(line) from error


def is_exported(path: Path) -> bool:
    """Returns whether `ExportedModel` is for this path: a .onnx or .xml file, or a SavedModel."""
    return os.path.splitext(path)[1] in _OF_SUFFIX or saved_model_folder(path) is not None


def _choose(path, runtime):
    """Returns the name of the runtime for a file; raises if there is no such file or runtime."""
    if runtime not in (None, *RUNTIMES):
        raise ValueError(
            f"runtime must be one of {', '.join(RUNTIMES)}. Received: runtime={runtime!r}."
        )
    suffix = os.path.splitext(path)[1]
    if not os.path.exists(path):
        raise FileNotFoundError(f"no such file or folder. Received: path={os.fspath(path)!r}.")
    if os.path.isdir(path):
        possible = ("tensorflow",) if saved_model_folder(path) else ()
    else:
        possible = _OF_SUFFIX.get(suffix, ())
    if not possible:
        raise ValueError(
            "an exported model must be a .onnx or .xml file, or a SavedModel folder. Received: "
            f"path={os.fspath(path)!r}."
        )
    if runtime not in (None, *possible):
        raise ValueError(
            f"this file runs in {' or '.join(possible)}. Received: runtime={runtime!r}, "
            f"path={os.fspath(path)!r}."
        )
    return runtime or possible[0]


def _open(path, runtime, threads):
    """Loads a file; whatever a runtime raises becomes a ValueError of one line."""
    try:
        importlib.import_module(runtime)
    except ImportError as error:
        advice = f"pip install {runtime}"
        if runtime in _EXTRAS:
            advice += f", or the extra {_EXTRAS[runtime]}: keras3-maskrcnn[{_EXTRAS[runtime]}]"
        raise ImportError(f"{path} needs {runtime}: {advice}. Received: {error}.") from error
    try:
        return _CLASSES[runtime](path, threads)
    except ValueError:
        raise
    except Exception as error:  # runtimes raise errors of their own
        raise ValueError(
            f"{path} cannot be read by {runtime}: it is another file, or damaged: "
            f"{_one_line(error)}"
        ) from error


def _one_line(error):
    """Returns an error's text in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
