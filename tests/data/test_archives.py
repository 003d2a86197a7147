"""data/archives.py: limits of unpacked sizes; more tests are in test_checkpoint.py."""

import zipfile

import numpy as np
import pytest

from keras_maskrcnn.data import archives


def test_a_file_may_unpack_to_a_gibibyte_or_20_times_its_size(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"\0" * 100)
    assert archives.room(path) == 2**30
    monkeypatch.setattr(archives, "ROOM", 1000)
    assert archives.room(path) == 2000


def test_an_archive_of_numbers_is_opened(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(5))
    with archives.load_npz(tmp_path / "a.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2, 3, 4]
    np.savez(tmp_path / "b.npz", x=np.array([{}], object))
    with archives.load_npz(tmp_path / "b.npz") as arrays, pytest.raises(ValueError, match="pickle"):
        _ = arrays["x"]
    monkeypatch.setattr(archives, "ROOM", 100)
    monkeypatch.setattr(archives, "RATIO", 0.1)
    with pytest.raises(ValueError, match="it would unpack to 168 bytes"):
        archives.load_npz(tmp_path / "a.npz")


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(zipfile.BadZipFile):
        archives.check_zip(tmp_path / "a.zip")
