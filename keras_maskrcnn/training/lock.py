"""Locks a folder, so that only one process at a time writes into it."""

import contextlib
import errno
import os
import socket
import threading
import weakref

from absl import logging

from keras_maskrcnn.typing import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # `_acquire` then only warns

# The locks of this process, by real path.
_HELD: weakref.WeakValueDictionary[str, "FolderLock"] = weakref.WeakValueDictionary()
_GUARD = threading.Lock()
# A link could lead to a file that is not ours. Windows does not have this flag.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


class FolderLock:
    """Keeps other processes out of a folder, until `release` or until no reference is left.

    The operating system frees the lock when the process ends, in whatever way. The file `lock` in
    the folder names the process. A network file system may have no locks (NFS mounted with nolock,
    for instance) or locks per machine only. On Windows there are none.

    Args:
        folder: str. It is made if it does not exist.

    Raises:
        BlockingIOError: if another process holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "lock")
        self.release = weakref.finalize(self, _free, _acquire(path, folder), path, os.getpid())


def lock_folder(folder: Path) -> FolderLock:
    """Returns the `FolderLock` of a folder; all callers in this process share it."""
    with _GUARD:
        path = os.path.realpath(folder)
        lock = _HELD.get(path)
        if lock is None or not lock.release.alive:
            lock = _HELD[path] = FolderLock(folder)
        return lock


def _acquire(path, folder):
    """Returns the descriptor of the locked file."""
    for last in [False] * 9 + [True]:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666)
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, "Windows")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last holder may have removed the file just now, and this lock protects nothing.
            # Try again, but not forever: some file systems number a file anew each time.
            if not last and not _is_at(descriptor, path):
                os.close(descriptor)
                continue
        except BlockingIOError:
            owner = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise BlockingIOError(
                f"{owner or 'another process'} writes into {folder}; only one process may. "
                f"Received: folder={os.fspath(folder)!r}."
            ) from None
        except OSError as error:
            logging.warning(
                "%s: no locks here (%s); let only one process write.", path, error.strerror
            )
        with contextlib.suppress(OSError):  # the disk may be full; the lock still holds
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return descriptor


def _is_at(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _free(descriptor, path, process):
    if process == os.getpid():  # a child process has a copy of the lock, and must not remove it
        with contextlib.suppress(OSError):
            os.remove(path)
    os.close(descriptor)
