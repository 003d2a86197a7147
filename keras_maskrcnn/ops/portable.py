"""A switch for tracing models with only the operations that other runtimes have."""

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
    """Makes models that are traced inside avoid operations that ONNX or LiteRT lack.

    These are CombinedNonMaxSuppression, CropAndResize and sparse products. Their replacements give
    the same results, but are slower.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


def is_portable() -> bool:
    """Returns whether the code runs inside `portable`."""
    return _PORTABLE.get()
