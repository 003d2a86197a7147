"""data/sources/opening.py: the content of a source decides how it is read."""

import pathlib
import sys

import numpy as np
import pytest
import tifffile
from outside import IMPORTED_FROM, run

from keras_maskrcnn import data
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import SUFFIXES, open_source


def test_it_is_public():
    assert data.open_source is open_source


def test_a_source_is_returned_as_it_is(pixels):
    source = open_source(pixels)
    assert open_source(source) is source


def test_paths_may_be_text_or_objects_and_endings_do_not_matter(pixels, require_windows, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    (tmp_path / "a.npy").rename(tmp_path / "array")
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
    (tmp_path / "a.tif").rename(tmp_path / "b.png")
    for path in (str(tmp_path / "array"), pathlib.Path(tmp_path, "b.png")):
        require_windows(open_source(path))


def test_files_that_are_no_images_are_refused(tmp_path):
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.btf").write_text("no image at all")
    expected = {
        "missing.tif": "does not exist",
        "empty.tif": "is empty",
        "text.btf": "not an image",
    }
    for name, detail in expected.items():
        with pytest.raises(DataError, match=f"{name}: .*{detail}"):
            open_source(tmp_path / name)
    with pytest.raises(DataError, match="a folder that holds no zarr array"):
        open_source(tmp_path)


@pytest.mark.parametrize("source", [None, 3, b"a.tif", [[1]], {"shape": 1}])
def test_other_objects_are_refused(source):
    with pytest.raises(
        TypeError, match="source must be a path, a PIL image, or an array.*Received"
    ):
        open_source(source)


def test_addresses_are_no_files():
    """No library gets an address that it would load from the network."""
    for address in (
        "https://example.org/a.tif",
        "/vsicurl/https://example.org/a.tif",
        "s3://a/b.svs",
    ):
        with pytest.raises(DataError, match="does not exist"):
            open_source(address)


def test_endings_for_folders_of_images():
    assert {".png", ".tif", ".btf", ".svs", ".mrxs", ".npy", ".zarr"} <= set(SUFFIXES)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_nothing_heavy_is_imported():
    """Exported models use it where TensorFlow is not installed; extras are imported when needed."""
    names = ["tensorflow", "keras", "tifffile", "imagecodecs", "rasterio", "zarr", "openslide"]
    code = "import sys, keras_maskrcnn.data.sources; print(*sorted(sys.modules), sep='\\n')"
    imported = run(sys.executable, "-c", code, cwd=IMPORTED_FROM).splitlines()
    assert "keras_maskrcnn.data.sources.opening" in imported
    assert not set(names) & set(imported)
