"""Checks the sizes in zip archives, and opens NumPy's archives of arrays.

An entry may declare gigabytes for a few bytes, or share its bytes with a thousand other entries.
Sizes are compared before anything is unpacked.
"""

import os
import zipfile

import numpy as np

from keras_maskrcnn.typing import Path

ROOM, RATIO = 2**30, 20  # a file may unpack to ROOM bytes, or to RATIO times its size


def room(path: Path) -> int:
    """Returns how many bytes a file may unpack to: 1 GiB, or 20 times its size if that is more."""
    return max(ROOM, RATIO * os.path.getsize(path))


def check_zip(path: Path) -> None:
    """Compares the declared sizes of a zip archive with the file's size. Reads its directory only.

    Raises:
        ValueError: if its entries cannot have these sizes, or unpack to more than `room`.
        zipfile.BadZipFile: if the file is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    for entry in entries:
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise ValueError(
                f"its entry {entry.filename} declares {entry.file_size} bytes and has "
                f"{entry.compress_size}"
            )
    if sum(entry.compress_size for entry in entries) > os.path.getsize(path):
        raise ValueError("its entries declare more bytes than the file has")
    total = sum(entry.file_size for entry in entries)
    if total > room(path):
        raise ValueError(f"it would unpack to {total} bytes, from {os.path.getsize(path)}")


def load_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Opens an .npz file with `np.load`. It may hold only numbers, and unpack to at most `room`.

    Raises:
        ValueError: as in `check_zip`. `np.load` may raise other errors.
    """
    check_zip(path)
    return np.load(path, allow_pickle=False)
