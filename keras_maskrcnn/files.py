"""Files that are replaced as a whole: a kill at any moment leaves the old one or the new one."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from typing import Any

from keras_maskrcnn.typing import Path

# What the names of unfinished files and folders begin with, in the folder of what they become. A
# process that is killed leaves them behind, and they may be deleted.
UNFINISHED = "unfinished-"
_KEPT = 50  # characters of the name that follow; 255 bytes are the limit of most file systems


def unfinished(path: Path) -> str:
    """Returns a name for what becomes `path` when it is whole, which nobody else has.

    It lies in the same folder, and ends as `path` does.
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f"{UNFINISHED}{secrets.token_hex(8)}.{name[-_KEPT:]}")


@contextlib.contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[str]:
    """Yields the path of a new file, which takes the place of `path` once it is on the disk.

    It lies in the same folder, ends as `path` does, and has the permissions that `open` would
    leave. Of a link the target is replaced. An error in between removes the new file, and what was
    there stays. Several threads or processes may replace one path at once: each file is whole, and
    the last one stays. A device or a pipe is written as it is.

    Args:
        path: str or PathLike, in a folder that exists.
        sync: bool. Whether to wait for the disk, so that even a power cut leaves a whole file.

    Raises:
        OSError: as `open` for writing; it names `path`.
    """
    final = os.path.realpath(path)
    try:
        mode = _writable_mode(final)
        if mode is not None and not stat.S_ISREG(mode):
            new = None
        else:
            new = unfinished(final)
            # Nobody else may read what will be private.
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
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(new)
        raise
    if sync:
        _sync(os.path.dirname(final))  # which holds the name


def _writable_mode(path):
    """Returns the mode of what is there, None if nothing is; OSError if `open` could not write."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mode
    finally:
        os.close(descriptor)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Writes a JSON file as a whole.

    Args:
        path: str or PathLike.
        content: what `json.dump` takes.
        indent: int or None, as there.
    """
    with replacing(path) as new, open(new, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)


def checksum(path: Path | None) -> str | None:
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
