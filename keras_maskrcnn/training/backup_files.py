"""Backup files: zip archives of arrays and one JSON text, each with a checksum.

The file's name has the step, such as step_00000200.npz. Nothing in a file is executed.
"""

import glob
import json
import os
from collections.abc import Sequence, Set
from typing import Any

import numpy as np
from absl import logging

from keras_maskrcnn import files
from keras_maskrcnn.data import DataError, archives
from keras_maskrcnn.typing import Path

FORMAT = 1


def write_backup(folder: Path, state: dict[str, Any], values: Sequence[np.ndarray]) -> str:
    """Writes a whole backup or none, and makes its folder.

    Args:
        folder: str.
        state: dict that JSON can hold, with the int `step`.
        values: list of arrays.

    Returns:
        str, the path.

    Raises:
        OSError: if it cannot be written; no partial file stays.
    """
    path = backup_path(folder, state["step"])
    state = {"format": FORMAT, **state, "variables": len(values)}
    os.makedirs(folder, exist_ok=True)
    with files.replacing(path) as new:
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        np.savez(new, *values, state=text)
    return path


def read_backup(folder: Path) -> tuple[str, dict[str, Any], list[np.ndarray]] | None:
    """Reads the newest undamaged backup in a folder, and logs the damaged ones.

    Args:
        folder: str.

    Returns:
        path, state, values: str, dict, and a list of arrays (the values of all variables). None if
            there is no backup.

    Raises:
        DataError: if none of the backups can be read.
        PermissionError: if the newest one may not be read.
        ValueError: if the backup has the format of another version of this package.
    """
    paths = backup_paths(folder)
    for path in reversed(paths):
        try:
            with archives.load_npz(path) as file:
                state, values = json.loads(file["state"].tobytes()), None
                if state["format"] == FORMAT:
                    values = [file[f"arr_{i}"] for i in range(state["variables"])]
        except PermissionError:
            raise
        except Exception as error:  # zipfile, NumPy and json raise many kinds
            logging.warning("%s is damaged (%s): trying the backup before it.", path, error)
            continue
        if values is None:
            raise ValueError(f"{path}: format must be {FORMAT}. Received: {state['format']}.")
        return path, state, values
    if paths:
        raise DataError(f"{folder}: no backup can be read. Received: {len(paths)} damaged files.")
    return None


def remove_backups(folder: Path, but: Set[str | None]) -> None:
    """Removes all backups in a folder except some, and the unfinished files of killed processes.

    Args:
        folder: str.
        but: set of the paths that stay.
    """
    # Version 0.1 named unfinished files new.step_00000200.npz and so on.
    unfinished = (f"{files.UNFINISHED}*.step_*.npz", f"new.step_{'[0-9]' * 8}.npz")
    left = {path for pattern in unfinished for path in _paths(folder, pattern)}
    for path in {*backup_paths(folder), *left} - but:
        os.remove(path)


def backup_path(folder: Path, step: int) -> str:
    """Returns the path of the backup of a step."""
    return os.path.join(folder, f"step_{step:08}.npz")


def backup_paths(folder: Path) -> list[str]:
    """Returns the paths of the backups in a folder; the newest is last."""
    return _paths(folder, "step_*.npz")


def _paths(folder, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
