"""data/sources/geotiff_source.py: pixels and their place on the earth."""

import logging
import sys

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.data.sources.geotiff_source import GeoTiffSource

METERS = Affine(0.1, 0.0, 500_000.0, 0.0, -0.1, 6_000_000.0)


def write(path, bands, overviews=(), palette=None, **options):
    """Writes (C, H, W) as a GeoTIFF of tiles."""
    options = {"crs": "EPSG:32633", "transform": METERS, "compress": "deflate", **options}
    count, height, width = bands.shape
    shape = {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 48}
    with rasterio.open(path, "w", driver="GTiff", **shape, **tiles, **options) as file:
        file.write(bands)
        if palette:
            file.write_colormap(1, palette)
        if overviews:
            file.build_overviews(overviews, rasterio.enums.Resampling.nearest)


def test_windows_place_and_overviews(pixels, require_windows, tmp_path):
    write(tmp_path / "a.tif", pixels.transpose(2, 0, 1), overviews=[2, 4])
    with open_source(tmp_path / "a.tif") as source:
        assert type(source) is GeoTiffSource
        assert source.crs == "EPSG:32633"
        assert source.transform == (0.1, 0.0, 500_000.0, 0.0, -0.1, 6_000_000.0)
        assert source.microns_per_pixel == pytest.approx(100_000)
        assert source.levels == ((120, 160), (60, 80), (30, 40))
        with rasterio.open(tmp_path / "a.tif", overview_level=0) as overview:
            expected = overview.read().transpose(1, 2, 0)
        np.testing.assert_array_equal(source.read(0, 0, 120, 160, (60, 80)), expected)
        require_windows(source)


def test_16_bits_many_bands_and_gray(pixels, require_windows, tmp_path):
    deep = pixels.transpose(2, 0, 1).astype(np.uint16) * 256
    write(tmp_path / "five.tif", np.concatenate([deep, deep[:2]]))
    require_windows(open_source(tmp_path / "five.tif"))
    write(tmp_path / "gray.tif", deep[:1])
    require_windows(open_source(tmp_path / "gray.tif"), np.repeat(pixels[..., :1], 3, axis=2))


def test_nodata_becomes_black(tmp_path):
    bands = np.full([3, 50, 60], 255, np.uint8)
    bands[:, :10] = 7
    bands[0, 10] = 9  # one band differs, so it is a color
    write(tmp_path / "a.tif", bands, nodata=255)
    with open_source(tmp_path / "a.tif") as source:
        window = source.read(0, 0, 50, 60)
    assert (window[:10] == 7).all() and not window[11:].any()
    assert (window[10] == [9, 255, 255]).all()


def test_palettes_become_their_colors(tmp_path):
    indices = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    colors = {0: (1, 2, 3, 255), 1: (4, 5, 6, 255), 2: (7, 8, 9, 255)}
    write(tmp_path / "a.tif", indices, palette=colors)
    with open_source(tmp_path / "a.tif") as source:
        window = source.read(0, 0, 2, 2)
    assert window.tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [0, 0, 0]]]


def test_degrees_have_no_micrometers_and_other_systems_are_wkt(tmp_path):
    bands = np.zeros([1, 20, 20], np.uint8)
    write(tmp_path / "a.tif", bands, crs="EPSG:4326", transform=Affine(1e-5, 0, 13, 0, -1e-5, 52))
    with open_source(tmp_path / "a.tif") as source:
        assert source.crs == "EPSG:4326" and source.microns_per_pixel is None
    own = "+proj=tmerc +lat_0=1 +lon_0=2 +k=0.9 +x_0=3 +y_0=4 +ellps=GRS80 +units=us-ft"
    write(tmp_path / "b.tif", bands, crs=own)
    with open_source(tmp_path / "b.tif") as source:
        assert source.crs.startswith("PROJCS[")
        assert source.microns_per_pixel == pytest.approx(0.1 * 1200 / 3937 * 1e6)


@pytest.mark.parametrize("dtype", ["f4", "i2", "u4"])
def test_elevations_are_refused(tmp_path, dtype):
    write(tmp_path / "a.tif", np.zeros([1, 20, 20], dtype))
    with pytest.raises(DataError, match=rf"a\.tif: an image must be.*dtype={np.dtype(dtype)}"):
        open_source(tmp_path / "a.tif")


def test_a_file_that_is_cut_off_is_refused_when_opened(pixels, tmp_path):
    write(tmp_path / "a.tif", pixels.transpose(2, 0, 1))
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(content[:-1000])
    with pytest.raises(DataError, match=r"cut\.tif: the file is cut off: .*Received: .* tile "):
        open_source(tmp_path / "cut.tif")


def test_a_broken_tile_is_an_error_with_the_window(pixels, tmp_path):
    write(tmp_path / "a.tif", pixels.transpose(2, 0, 1))
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[-3000:] = bytes(3000)
    (tmp_path / "a.tif").write_bytes(content)
    with open_source(tmp_path / "a.tif") as source:
        np.testing.assert_array_equal(source.read(0, 0, 20, 20), pixels[:20, :20])
        with pytest.raises(DataError, match=r"a\.tif: a window cannot be read\. .*top=0.*level=0"):
            source.read(0, 0, 120, 160)


def test_without_rasterio_it_is_a_tiff_and_a_warning_says_so(
    pixels, require_windows, tmp_path, monkeypatch, caplog
):
    write(tmp_path / "a.tif", pixels.transpose(2, 0, 1))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with caplog.at_level(logging.WARNING), open_source(tmp_path / "a.tif") as source:
        require_windows(source)
        assert source.crs is None and source.transform is None
    assert "a.tif: needs the extra geo: pip install keras3-maskrcnn[geo]" in caplog.text
