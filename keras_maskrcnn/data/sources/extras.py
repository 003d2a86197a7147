"""Says which extra a source needs."""

from keras_maskrcnn.typing import Path


def needed(path: Path, extra: str, error: ImportError | None = None) -> ImportError:
    """Makes the error for a file that needs a package that is not installed.

    Args:
        path: str. The file.
        extra: str. The extra of this package that installs what is missing.
        error: the error of the import; None if none was tried.
    """
    received = f" Received: {error}." if error else ""
    return ImportError(
        f"{path}: needs the extra {extra}: pip install keras3-maskrcnn[{extra}].{received}"
    )
