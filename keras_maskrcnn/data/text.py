"""Text and paths as other systems write them."""

import json
import os

from absl import logging


def decode(data, path) -> str:
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


def local_path(name, folder) -> str:
    r"""Returns a path below `folder` with the separators of this system.

    Windows writes `a\b.jpg`; only where a file has that very name, the backslash is no separator.
    """
    if "\\" not in name or "\0" in name or os.path.lexists(os.path.join(folder, name)):
        return name
    return name.replace("\\", "/")
