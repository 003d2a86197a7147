"""data/sources/opening.py: the content of a source decides how it is read."""

import concurrent.futures
import pathlib
import sys

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from outside import IMPORTED_FROM, run
from PIL import Image

from keras_maskrcnn import data
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.images import DARK
from keras_maskrcnn.data.sources import SUFFIXES, open_source, reading


def test_it_is_public():
    assert data.open_source is open_source


def test_a_source_is_returned_as_it_is(pixels):
    source = open_source(pixels)
    assert open_source(source) is source


def test_with_closes_what_it_has_opened_only(pixels, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    with open_source(tmp_path / "a.npy") as given:
        with reading(given) as source:
            assert source is given
        assert not given.closed
    with reading(tmp_path / "a.npy") as source:
        assert not source.closed
    assert source.closed


def test_16_bits_in_a_part_of_their_range_are_a_remark(pixels, tmp_path):
    """12 bits are from 0 to 4095, of which the high byte is below 16."""
    dark = (pixels[..., 0].astype(np.uint16) * 16).reshape(120, 160)
    dark[100:] *= 16  # here is the whole range
    tifffile.imwrite(tmp_path / "a.tif", dark, photometric="minisblack")
    zarr.save(tmp_path / "a.zarr", dark)
    with rasterio.open(
        tmp_path / "geo.tif",
        "w",
        transform=rasterio.Affine(2, 0, 0, 0, -2, 0),
        **{"count": 1, "height": 120, "width": 160, "dtype": "uint16"},
    ) as file:
        file.write(dark, 1)
    for source in (dark, *(tmp_path / name for name in ("a.tif", "a.zarr", "geo.tif"))):
        with open_source(source) as opened:
            assert not opened.remarks()
            opened.read(0, 0, 100, 160)
            assert opened.remarks() == [DARK]
            opened.read(80, 0, 40, 160, size=(20, 80))
            assert not opened.remarks()
    with open_source(pixels // 16) as opened:
        opened.read(0, 0, 120, 160)
        assert not opened.remarks()


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


def test_every_kind_of_file_is_read_by_several_threads(pixels, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="rgb", compression="lzw", tile=(32, 32)
    )
    (tmp_path / "a.svs").write_bytes((tmp_path / "a.tif").read_bytes())
    zarr.create_array(tmp_path / "a.zarr", shape=pixels.shape, dtype="u1")[:] = pixels
    shape = {"count": 3, "height": 120, "width": 160, "dtype": "uint8"}
    scale = rasterio.Affine(2, 0, 0, 0, -2, 0)
    with rasterio.open(
        tmp_path / "geo.tif", "w", transform=scale, crs="EPSG:3857", **shape
    ) as file:
        file.write(pixels.transpose(2, 0, 1))
    kinds = set()
    for name in ("a.npy", "a.png", "a.tif", "a.svs", "a.zarr", "geo.tif"):
        with (
            concurrent.futures.ThreadPoolExecutor(3) as pool,
            open_source(tmp_path / name) as source,
        ):
            kinds.add(type(source))
            windows = pool.map(lambda i, s=source: s.read(i, 2 * i, 40, 50), range(50))
            for i, window in enumerate(windows):
                np.testing.assert_array_equal(window, pixels[i : i + 40, 2 * i : 2 * i + 50])
    assert len(kinds) == 5  # .npy and zarr are arrays both


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
