"""Imports the packages of the extras `video` and `track`, with one line if they are missing."""

from typing import Any

from keras_maskrcnn.typing import Path


def import_av(source: Path) -> Any:
    """Returns PyAV.

    Args:
        source: str or PathLike. What needs it, for the message.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise _missing(f"{source} is a video, which needs PyAV", "video", error) from error
    return av


def import_trackers() -> tuple[Any, Any]:
    """Returns the packages `trackers` and `supervision`, which it works on.

    Raises:
        ImportError: if they are not installed.
    """
    try:
        import supervision
        import trackers
    except ImportError as error:
        raise _missing("tracks need the package trackers", "track", error) from error
    return trackers, supervision


def _missing(need, extra, error):
    return ImportError(f"{need}: pip install keras3-maskrcnn[{extra}]. Received: {error}.")
