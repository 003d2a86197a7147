"""Reads text files and paths that other systems wrote."""

import json
import os
from collections.abc import Callable
from typing import Any

from absl import logging

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.typing import Path

MAX_TEXT = 16_000_000  # bytes of a text file; real files have thousands


def decode(data: bytes, path: Path) -> str:
    """Decodes a text file: UTF-8, UTF-16 or UTF-32, otherwise Windows-1252.

    Byte order marks are removed. Bytes of none of these encodings are read as Windows-1252, or as
    Latin-1 if Windows-1252 lacks a character; this is logged.

    Args:
        data: bytes.
        path: str. The name of the file in the log.

    Raises:
        ValueError: if the bytes are no text.
    """
    encoding = json.detect_encoding(data)  # by the mark, or by zeros beside ASCII characters
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8" or b"\0" in data:
            raise
    logging.log_first_n(
        logging.WARNING,
        "%s: not UTF-8, so it is read as Western European (Windows-1252). Save it as UTF-8 if names"
        " look wrong. Only the first 10 such files are logged.",
        10,
        path,
    )
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Reads a json file with any content.

    Args:
        path: path.
        object_hook: as in `json.load`.

    Returns:
        The content, as from `json.load`.

    Raises:
        DataError: if the file is missing or broken.
    """
    try:
        with open(path, "rb") as file:
            return json.loads(decode(file.read(), path), object_hook=object_hook)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as json. Received: {error}.", "broken json"
        ) from error


def read_text(path: Path, max_bytes: int = MAX_TEXT) -> str:
    """Reads a text file of at most `max_bytes` bytes, in any encoding of `decode`."""
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
        text = decode(data, path) if len(data) <= max_bytes else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text. Received: {error}.") from error
    if len(data) > max_bytes:
        raise DataError(f"{path}: the file is larger than {max_bytes} bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """Reads the stripped lines of a text file, without empty lines and lines that begin with #."""
    lines = (line.strip() for line in read_text(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def local_path(name: str, folder: Path) -> str:
    r"""Returns a path below `folder` with the separators of this system.

    Windows writes `a\b.jpg`. The backslash is a separator unless a file has exactly this name.
    """
    if "\\" not in name or "\0" in name or os.path.lexists(os.path.join(folder, name)):
        return name
    return name.replace("\\", "/")
