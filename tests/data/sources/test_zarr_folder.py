"""data/sources/zarr_folder.py: zarr arrays are read in windows, and execute nothing."""

import json
import pickle
import sys

import numcodecs
import pytest
import zarr

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source


@pytest.mark.parametrize("options", [{"zarr_format": 2}, {"shards": (80, 100, 3)}, {}], ids=str)
def test_arrays_of_both_versions(pixels, require_windows, tmp_path, options):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=pixels.shape, dtype="u1", chunks=(40, 50, 3), **options
    )
    array[:] = pixels
    with open_source(tmp_path / "a.zarr") as source:
        require_windows(source)
        assert source.name == str(tmp_path / "a.zarr")


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_inside_is_refused_and_not_executed(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(8, 8),
        dtype="u1",
        chunks=(8, 8),
        zarr_format=2,
        compressors=None,
    )
    array[:] = 1
    header = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    header["compressor"] = {"id": "pickle", "protocol": 5}
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(header))
    (tmp_path / "a.zarr" / "0.0").write_bytes(pickle.dumps(Touch(tmp_path / "touched")))
    with pytest.raises(DataError, match=r"a\.zarr: not a zarr array of an image\. .*'pickle'"):
        open_source(tmp_path / "a.zarr")
    assert not (tmp_path / "touched").exists()


def test_codecs_that_are_not_known_are_refused(tmp_path):
    scale = numcodecs.FixedScaleOffset(offset=0, scale=1, dtype="u1")
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="u1", zarr_format=2, filters=[scale])
    with pytest.raises(DataError, match="codec 'fixedscaleoffset', which is not known to be safe"):
        open_source(tmp_path / "a.zarr")


def test_broken_and_foreign_folders_are_refused(tmp_path):
    zarr.create_array(tmp_path / "float.zarr", shape=(8, 8), dtype="f4")
    zarr.create_array(
        tmp_path / "vast.zarr", shape=(2**20, 2**20), dtype="u1", chunks=(2**20, 2**20)
    )
    zarr.open_group(tmp_path / "group.zarr").create_array("0", shape=(8, 8), dtype="u1")
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr" / "zarr.json").write_text("{")
    (tmp_path / "empty.zarr").mkdir()
    expected = {
        "float": "an image must be .*dtype=float32",
        "vast": "chunks of 1099511627776 bytes",
        "group": r"a group that is no OME-Zarr image, with the arrays \['0'\]",
        "text": "not a zarr array of an image",
        "empty": "a folder that holds no zarr array",
    }
    for name, detail in expected.items():
        with pytest.raises(DataError, match=rf"{name}\.zarr: .*{detail}"):
            open_source(tmp_path / f"{name}.zarr")


def test_a_broken_chunk_is_an_error_with_the_window(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="u1", chunks=(4, 4))
    array[:] = 5
    (tmp_path / "a.zarr" / "c" / "1" / "1").write_bytes(b"xxxx")
    with open_source(tmp_path / "a.zarr") as source:
        assert (source.read(0, 0, 4, 8) == 5).all()
        with pytest.raises(DataError, match=r"a\.zarr: a window cannot be read\..*top=4"):
            source.read(4, 0, 4, 8)


def test_without_zarr_its_extra_is_named(tmp_path, monkeypatch):
    zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), dtype="u1")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"a\.zarr: needs the extra zarr: pip install keras3-"):
        open_source(tmp_path / "a.zarr")
