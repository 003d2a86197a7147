"""Refuses a Keras on which this package cannot work, in one line and before anything else fails."""

import json
import os
import pathlib
import sys


def require_tensorflow() -> None:
    """Raises ImportError if Keras runs on another backend than TensorFlow, or is Keras 2.

    Without this, a model is built on another backend, and its first call fails in TensorFlow.
    """
    if "keras" not in sys.modules:
        backend, received = setting()
        if backend != "tensorflow":  # its own package may be missing, so Keras is not imported
            raise _error(received)
    import keras

    if int(keras.__version__.split(".")[0]) < 3:
        raise ImportError(
            f"keras_maskrcnn needs Keras 3. Received: keras.__version__={keras.__version__!r}."
        )
    if keras.config.backend() != "tensorflow":
        raise _error(f"keras.config.backend()={keras.config.backend()!r}")


def setting() -> tuple[str, str]:
    """Returns the backend that Keras will take, and where that is set, as text."""
    backend = os.environ.get("KERAS_BACKEND")
    if backend:
        return backend, f"KERAS_BACKEND={backend!r}"
    home = os.environ.get("KERAS_HOME") or os.path.join("~", ".keras")
    path = pathlib.Path(os.path.expanduser(home), "keras.json")  # stays ~ if there is no home
    try:
        backend = json.loads(path.read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, LookupError, TypeError):  # Keras takes its default then, too
        backend = "tensorflow"
    return backend, f"backend={backend!r} in {path}"


def _error(received):
    return ImportError(
        "keras_maskrcnn runs on the TensorFlow backend of Keras only: set the environment variable "
        f"KERAS_BACKEND=tensorflow before keras is imported. Received: {received}."
    )
