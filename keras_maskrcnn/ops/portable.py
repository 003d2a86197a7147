"""Whether the model is being traced for runtimes that lack some of TensorFlow's operations."""

import contextlib
import contextvars
from collections.abc import Iterator

from keras_maskrcnn.aliases import moved

_PORTABLE = contextvars.ContextVar("portable", default=False)
__getattr__ = moved(
    __name__,
    {"combined_non_max_suppression": "keras_maskrcnn.ops.nms:combined_non_max_suppression"},
)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """What is traced inside has no operation without a converter to ONNX or LiteRT.

    These are CombinedNonMaxSuppression, CropAndResize and sparse products. It is slower, and gives
    the same.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def is_portable() -> bool:
    """Returns whether we are inside of `portable`."""
    return _PORTABLE.get()
