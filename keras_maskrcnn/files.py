"""Files that are replaced as a whole: a kill at any moment leaves the old one or the new one."""

import contextlib
import hashlib
import json
import os


@contextlib.contextmanager
def replacing(path):
    """Yields the path of a new file, which takes the place of `path` once it is on the disk.

    It lies in the same folder and has the same suffix. An error in between removes it, and what
    was there stays.

    Args:
        path: str or PathLike, in a folder that exists.
    """
    folder, name = os.path.split(os.path.abspath(path))
    new = os.path.join(folder, f"new.{name}")
    try:
        yield new
        _sync(new)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(new)
        raise
    _sync(folder)  # which holds the name


def write_json(path, content, indent=None):
    """Writes a JSON file as a whole.

    Args:
        path: str or PathLike.
        content: what `json.dump` takes.
        indent: int or None, as there.
    """
    with replacing(path) as new, open(new, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)


def checksum(path):
    """Returns a file's SHA-256, hexadecimal; None if `path` is None or empty."""
    if not path:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path):
    """Waits until a file, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
