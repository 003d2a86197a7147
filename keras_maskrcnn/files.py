"""Replaces files as a whole: a process killed at any moment leaves the old or the new file."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from typing import Any

from keras_maskrcnn.typing import Path

# Prefix of unfinished files and folders. They lie in the folder of the final file. If a process is
# killed, its unfinished files stay and may be deleted.
UNFINISHED = "unfinished-"
_KEPT = 50  # characters of the final name that are kept; most file systems allow 255 bytes


def unfinished(path: Path) -> str:
    """Returns a unique path for a file or folder that becomes `path` when it is complete.

    It is in the same folder as `path`, and has the same ending.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f"{UNFINISHED}{secrets.token_hex(8)}.{name[-_KEPT:]}")


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[str]:
    """Yields the path of a new file, which replaces `path` once it is complete on the disk.

    The new file is in the same folder, has the same ending, and gets the permissions that `open`
    would give. If `path` is a link, its target is replaced. An error in the block removes the new
    file and keeps the old one. Several threads or processes may replace the same path at once: each
    file is complete, and the last one stays. If `path` is a device or a pipe, it is yielded itself.

    Args:
        path: str or PathLike, in a folder that exists.
        sync: bool. Whether to wait for the disk, so that a power cut also leaves a complete file.

    Raises:
        OSError: if `path` cannot be written, as from `open`, or the disk is full. It names `path`.
    """
    final = os.path.realpath(path)
    try:
        mode = _writable_mode(final)
        if mode is not None and not stat.S_ISREG(mode):
            new = None
        else:
            new = unfinished(final)
            # A file that replaces a private one must not be readable by others in the meantime.
            allowed = 0o666 if mode is None else 0o600
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, allowed))
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    if new is None:
        yield os.fspath(path)
        return
    try:
        yield new
        if mode is not None:
            with contextlib.suppress(OSError):  # file systems without permissions
                os.chmod(new, stat.S_IMODE(mode))
        if sync:
            _sync(new)
        os.replace(new, final)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(new)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # a full disk
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    if sync:
        _sync(os.path.dirname(final))  # the folder holds the new name


def _writable_mode(path):
    """Returns the mode of a file; None if there is none. Raises OSError if it is not writable."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes a JSON file, see `replacing`.

    Args:
        path: str or PathLike.
        content: anything that `json.dump` accepts.
        indent: int or None, as in `json.dump`.
    """
    with replacing(path) as new, open(new, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)


def checksum(path: Path | None) -> str | None:
    """Returns a file's SHA-256 as hexadecimal text; None if `path` is None or empty."""
    if not path:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path):
    """Waits until a file, or the names in a folder, are safe from a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
