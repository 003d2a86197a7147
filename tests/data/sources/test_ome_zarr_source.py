"""data/sources/ome_zarr_source.py: pyramids of zarr arrays, with channels before rows."""

import numpy as np
import pytest
import zarr

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source

UNITS = {"y": "micrometer", "x": "micrometer"}


def write(path, *levels, axes="tczyx", scale=0.5, zarr_format=2, units=UNITS):
    """Writes arrays as an OME-Zarr image of version 0.4, or 0.5 with zarr's version 3."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    for i, pixels in enumerate(levels):
        chunks = (1,) * (pixels.ndim - 2) + (64, 64)
        array = group.create_array(f"s{i}", shape=pixels.shape, dtype=pixels.dtype, chunks=chunks)
        array[:] = pixels
        factors = [1.0] * (pixels.ndim - 2) + [scale * 2**i] * 2
        transform = {"type": "scale", "scale": factors}
        datasets.append({"path": f"s{i}", "coordinateTransformations": [transform]})
    named = [{"name": axis, **({"unit": units[axis]} if axis in units else {})} for axis in axes]
    entry = {"multiscales": [{"version": "0.4", "axes": named, "datasets": datasets}]}
    group.attrs.update(entry if zarr_format == 2 else {"ome": entry})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_pyramid_of_colors(pixels, require_windows, tmp_path, zarr_format):
    stored = pixels.transpose(2, 0, 1)[None, :, None]
    write(tmp_path / "a.zarr", stored, stored[..., ::2, ::2], zarr_format=zarr_format)
    with open_source(tmp_path / "a.zarr") as source:
        assert source.levels == ((120, 160), (60, 80))
        assert source.microns_per_pixel == pytest.approx(0.5)
        reduced = source.read(20, 40, 60, 80, (30, 40))
        np.testing.assert_array_equal(reduced, pixels[20:80:2, 40:120:2])
        require_windows(source)


def test_the_first_time_channel_and_depth_are_read(pixels, require_windows, tmp_path):
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    stored = pixels[..., 0].astype(np.uint16) << 8
    write(tmp_path / "a.zarr", np.stack([stored, ~stored]), axes="zyx")
    require_windows(open_source(tmp_path / "a.zarr"), gray)
    write(tmp_path / "b.zarr", np.stack([stored, ~stored])[None], axes="tcyx")
    require_windows(open_source(tmp_path / "b.zarr"), gray)
    write(tmp_path / "c.zarr", stored, axes="yx")
    require_windows(open_source(tmp_path / "c.zarr"), gray)


@pytest.mark.parametrize("units", [{}, {"y": "micrometer"}, {"y": "angstrom", "x": "angstrom"}])
def test_without_a_known_unit_there_is_no_scale(tmp_path, units):
    write(tmp_path / "a.zarr", np.zeros([8, 8], np.uint8), axes="yx", units=units)
    with open_source(tmp_path / "a.zarr") as source:
        assert source.microns_per_pixel is None


def test_broken_groups_are_refused(tmp_path):
    image = np.zeros([3, 8, 8], np.uint8)
    write(tmp_path / "axes.zarr", image, axes="yxc")
    write(tmp_path / "few.zarr", image, axes="yx")
    write(tmp_path / "float.zarr", image.astype(float), axes="cyx")
    write(tmp_path / "path.zarr", image, axes="cyx")
    group = zarr.open_group(tmp_path / "path.zarr")
    entry = group.attrs["multiscales"]
    entry[0]["datasets"][0]["path"] = "../axes.zarr/s0"
    group.attrs["multiscales"] = entry
    zarr.open_group(tmp_path / "kind.zarr").attrs["multiscales"] = [3]
    for name in ("axes", "few", "float", "path", "kind"):
        with pytest.raises(DataError, match=rf"{name}\.zarr: not a zarr array of an image. Rece"):
            open_source(tmp_path / f"{name}.zarr")


def test_a_broken_chunk_is_an_error_with_the_window(tmp_path):
    write(tmp_path / "a.zarr", np.full([100, 100], 5, np.uint8), axes="yx")
    (tmp_path / "a.zarr" / "s0" / "1.1").write_bytes(b"xxxx")
    with open_source(tmp_path / "a.zarr") as source:
        assert (source.read(0, 0, 64, 100) == 5).all()
        with pytest.raises(DataError, match=r"a\.zarr: a window cannot be read\..*top=70.*level=0"):
            source.read(70, 70, 4, 8)
