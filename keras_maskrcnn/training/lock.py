"""A folder that one process at a time writes into."""

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
    fcntl = None  # type: ignore[assignment]  # what is done then is below

# Of this process, by real path.
_HELD: weakref.WeakValueDictionary[str, "FolderLock"] = weakref.WeakValueDictionary()
_GUARD = threading.Lock()
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # behind which is another's file; not of Windows


class FolderLock:
    """Keeps other processes out of a folder, until `release` or as long as it is referred to.

    The system holds the lock and frees it when the process ends, however it does. The file `lock`
    in the folder names the process. File systems of a network may lack locks (NFS mounted with
    nolock, for instance), or keep them to each machine; on Windows there are none.

    Args:
        folder: str. It is made if it is not there.

    Raises:
        BlockingIOError: if another process has the folder.
    """

    def __init__(self, folder: Path) -> None:
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "lock")
        self.release = weakref.finalize(self, _free, _acquire(path, folder), path, os.getpid())


def lock_folder(folder: Path) -> FolderLock:
    """Returns the `FolderLock` of a folder, the same one to all of this process who ask."""
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
            # Who had it may just have removed it, so that it locks nothing. (Some file systems give
            # a file another number each time.)
            if not last and not _is_at(descriptor, path):
                os.close(descriptor)
                continue
        except BlockingIOError:
            owner = os.read(descriptor, 1000).decode(errors="replace").strip()
            os.close(descriptor)
            raise BlockingIOError(
                f"{owner or 'another process'} writes into {folder}, which one at a time may. "
                f"Received: folder={os.fspath(folder)!r}."
            ) from None
        except OSError as error:
            logging.warning("%s: no locks here (%s); let one process write.", path, error.strerror)
        with contextlib.suppress(OSError):  # a full disk: it is locked all the same
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return descriptor


def _is_at(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _free(descriptor, path, process):
    if process == os.getpid():  # not a child, which has a copy
        with contextlib.suppress(OSError):
            os.remove(path)
    os.close(descriptor)
