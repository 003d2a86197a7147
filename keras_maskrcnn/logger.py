"""The logger of the package's warnings."""

import logging as logging_of_python
from typing import Any


def logger() -> Any:
    """Returns absl's logger, or Python's own where only what `runtime` needs is installed."""
    try:
        from absl import logging
    except ModuleNotFoundError:
        return logging_of_python.getLogger("keras_maskrcnn")
    return logging
