"""Files of backups: zip archives of arrays, and of one JSON text; each has its checksum.

The name says the step, as in step_00000200.npz. Nothing in a file is executed.
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
    """Writes a backup, whole or not at all, and makes its folder.

    Args:
        folder: str.
        state: dict that JSON can hold, with the int `step`.
        values: list of arrays.

    Returns:
        str: the path.

    Raises:
        OSError: if it cannot be written; no half file stays.
    """
    path = backup_path(folder, state["step"])
    state = {"format": FORMAT, **state, "variables": len(values)}
    os.makedirs(folder, exist_ok=True)
    with files.replacing(path) as new:
        text = np.frombuffer(json.dumps(state).encode(), np.uint8)
        np.savez(new, *values, state=text)
    return path


def read_backup(folder: Path) -> tuple[str, dict[str, Any], list[np.ndarray]] | None:
    """Reads the newest backup of a folder that is not damaged; the damaged ones are logged.

    Args:
        folder: str.

    Returns:
        None if there is no backup, else its path; its state, a dict; a list of arrays, the values
        of all variables.

    Raises:
        DataError: if none of the backups can be read.
        PermissionError: if the newest one may not be read.
        ValueError: if it was written by another version of this module.
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
        except Exception as error:  # of many kinds, of zipfile, NumPy and json
            logging.warning("%s is damaged (%s): the backup before it counts.", path, error)
            continue
        if values is None:
            raise ValueError(f"{path}: format must be {FORMAT}. Received: {state['format']}.")
        return path, state, values
    if paths:
        raise DataError(f"{folder}: no backup can be read. Received: {len(paths)} damaged files.")
    return None


def remove_backups(folder: Path, but: Set[str | None]) -> None:
    """Removes all backups of a folder but some, and the unfinished files that kills left behind.

    Args:
        folder: str.
        but: set of the paths that stay.
    """
    # Version 0.1 wrote to new.step_00000200.npz and so on.
    unfinished = (f"{files.UNFINISHED}*.step_*.npz", f"new.step_{'[0-9]' * 8}.npz")
    left = {path for pattern in unfinished for path in _paths(folder, pattern)}
    for path in {*backup_paths(folder), *left} - but:
        os.remove(path)


def backup_path(folder: Path, step: int) -> str:
    """Returns the path of the backup of a step."""
    return os.path.join(folder, f"step_{step:08}.npz")


def backup_paths(folder: Path) -> list[str]:
    """Returns the paths of a folder's backups, the newest last."""
    return _paths(folder, "step_*.npz")


def _paths(folder, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
