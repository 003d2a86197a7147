import json
import os

import numpy as np
import pytest

from keras_maskrcnn import DataError
from keras_maskrcnn.training import read_backup
from keras_maskrcnn.training.backup_files import backup_paths, remove_backups, write_backup


@pytest.fixture
def folder(tmp_path):
    """A folder with two backups, of steps 4 and 6."""
    for step in (4, 6):
        values = np.random.default_rng(step).normal(size=(20, 3, 4)).astype(np.float32)
        write_backup(tmp_path / "run", {"step": step, "run": {"seed": 0}}, list(values))
    return tmp_path / "run"


def test_the_newest_backup_is_read(folder):
    path, state, values = read_backup(folder)
    assert path == str(folder / "step_00000006.npz") == backup_paths(folder)[-1]
    assert state == {"format": 1, "step": 6, "run": {"seed": 0}, "variables": 20}
    expected = np.random.default_rng(6).normal(size=(20, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(values, expected)


def test_a_folder_without_backups_has_none(tmp_path):
    assert read_backup(tmp_path) is None
    assert read_backup(tmp_path / "none") is None


def test_a_damaged_backup_is_never_taken_for_a_good_one(folder, caplog):
    _, state, values = read_backup(folder)
    path = folder / "step_00000006.npz"
    content = path.read_bytes()
    steps = []
    for place in range(0, len(content), len(content) // 300):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        _, found, arrays = read_backup(folder)
        steps.append(found["step"])
        if found["step"] == 6:  # the byte was in a part that is not read, such as a date
            assert found == state
            for ours, theirs in zip(arrays, values, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert steps.count(4) > 200
    assert "step_00000006.npz is damaged" in caplog.text


def test_a_cut_backup_is_not_read(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="no backup can be read. Received: 2 damaged files"):
        read_backup(folder)


def test_another_format_is_not_taken_for_damage(tmp_path):
    state = np.frombuffer(json.dumps({"format": 2}).encode(), np.uint8)
    np.savez(tmp_path / "step_00000001.npz", state=state)
    with pytest.raises(ValueError, match="step_00000001.npz: format must be 1. Received: 2"):
        read_backup(tmp_path)


def test_what_a_kill_left_half_written_is_removed(folder):
    for name in ("new.step_00000003.npz", "unfinished-00aa.step_00000003.npz", "new.txt"):
        (folder / name).write_bytes(b"half")  # the first name is from version 0.1
    remove_backups(folder, but={str(folder / "step_00000006.npz")})
    assert sorted(os.listdir(folder)) == ["new.txt", "step_00000006.npz"]
