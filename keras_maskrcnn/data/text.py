"""Text and paths as other systems write them."""

import json
import os
from collections.abc import Callable
from typing import Any

from absl import logging

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.typing import Path

MAX_TEXT = 16_000_000  # bytes of a text file; real ones have thousands


def decode(data: bytes, path: Path) -> str:
    """Decodes a text file: UTF-8, UTF-16 and UTF-32, and for want of these Windows-1252.

    Byte order marks are taken away; Western European bytes are taken for Windows-1252, or Latin-1
    where that has no character, which is logged.

    Args:
        data: bytes.
        path: str. What the log calls the file.

    Raises:
        ValueError: if the bytes are no text.
    """
    encoding = json.detect_encoding(data)  # by the mark, or by zeros between ASCII characters
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8" or b"\0" in data:
            raise
    logging.log_first_n(
        logging.WARNING,
        "%s: not UTF-8, so it is read as Western European (Windows-1252). Save it as UTF-8 if names"
        " look wrong. Of more such files only 10 are named.",
        10,
        path,
    )
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Reads a json file of any content.

    Args:
        path: path.
        object_hook: as in `json.load`.

    Raises:
        DataError: if there is none, or it is broken.
    """
    try:
        with open(path, "rb") as file:
            return json.loads(decode(file.read(), path), object_hook=object_hook)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read as json. Received: {error}.", "broken json"
        ) from error


def read_text(path: Path) -> str:
    """Reads a text file of at most `MAX_TEXT` bytes, in any encoding that `decode` knows."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TEXT + 1)
        text = decode(data, path) if len(data) <= MAX_TEXT else ""
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as text. Received: {error}.") from error
    if len(data) > MAX_TEXT:
        raise DataError(f"{path}: the file is larger than {MAX_TEXT} bytes.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """Reads the lines of a text file, stripped, without those that are empty or begin with #."""
    lines = (line.strip() for line in read_text(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def local_path(name: str, folder: Path) -> str:
    r"""Returns a path below `folder` with the separators of this system.

    Windows writes `a\b.jpg`; only where a file has that very name, the backslash is no separator.
    """
    if "\\" not in name or "\0" in name or os.path.lexists(os.path.join(folder, name)):
        return name
    return name.replace("\\", "/")
