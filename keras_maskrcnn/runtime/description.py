"""Reads the description that `model.export` writes into each file."""

import json
from typing import Any

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.typing import Path

KEY = "keras_maskrcnn"
"""Name of the description among a file's metadata."""

_NEEDED = {"config": dict, "precision": str}


def no_description(path: Path, place: str) -> ValueError:
    """Makes the error for a file without a description."""
    return ValueError(
        f"{path} was not written by model.export of keras_maskrcnn 0.2 or later: it has no {place}."
    )


def read_description(path: Path, text: str) -> tuple[dict[str, Any], MaskRCNNConfig]:
    """Parses and checks a description.

    Args:
        path: str. The exported file, for error messages.
        text: str. JSON, as in a SavedModel's assets.extra/model.json.

    Returns:
        The description, and the config of the model in it.

    Raises:
        ValueError: if the text is no such description, or its config is not valid here.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its description is not JSON: {error}.") from error
    found = found if isinstance(found, dict) else {}
    for name, kind in _NEEDED.items():
        if not isinstance(found.get(name), kind):
            raise ValueError(f"{path}: its description has no {name!r}, or a damaged one.")
    try:
        return found, MaskRCNNConfig.from_fields(found["config"])
    except ValueError as error:
        version = str(found.get("keras_maskrcnn", "an unknown version"))[:40]
        raise ValueError(
            f"{path}: this version of keras_maskrcnn cannot use its config: {error} The file was "
            f"written by {version}."
        ) from error
