"""Sources with any bands and any dtype: all kinds of files give what the array itself gives."""

import numpy as np
import pytest
import rasterio
import tifffile
import zarr
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source, reading
from keras_maskrcnn.data.sources.wanted import RGB, Wanted

RANGES = {"uint8": 256, "uint16": 4096, "float32": 1}
WINDOWS = (0, 0, 120, 160), (3, 5, 40, 50), (119, 159, 1, 1)


def noise(bands, dtype, size=(120, 160)):
    values = np.random.default_rng(bands).random((*size, bands)) * RANGES[dtype]
    return values.astype(dtype)


def write(folder, kind, image):
    """Writes an image (H, W, N) as a kind of file. Returns what `open_source` takes."""
    planes, bands = image.transpose(2, 0, 1), image.shape[2]
    path = folder / f"{kind}.tif"
    if kind == "array":
        return image
    if kind == "npy":
        np.save(folder / "a.npy", image)
        return folder / "a.npy"
    if kind == "zarr":
        zarr.create_array(folder / "a.zarr", shape=image.shape, dtype=image.dtype)[:] = image
        return folder / "a.zarr"
    if kind == "ome-zarr":
        group = zarr.open_group(folder / "b.zarr", mode="w", zarr_format=2)
        array = group.create_array("0", shape=(1, *planes.shape), dtype=planes.dtype)
        array[:] = planes[None]
        axes = [{"name": name} for name in "tcyx"]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
        return folder / "b.zarr"
    if kind == "geo":
        sides = {"height": image.shape[0], "width": image.shape[1], "dtype": image.dtype.name}
        scale = rasterio.Affine(2, 0, 0, 0, -2, 0)
        with rasterio.open(path, "w", transform=scale, count=bands, crs="EPSG:3857", **sides) as f:
            f.write(planes)
        return path
    options = {"photometric": "minisblack", "metadata": None}
    if kind == "chunky":
        tifffile.imwrite(path, image, planarconfig="contig", tile=(32, 32), **options)
    elif kind == "planar":
        options |= {"planarconfig": "separate", "compression": "deflate", "rowsperstrip": 7}
        tifffile.imwrite(path, planes, predictor=True, **options)
    elif kind == "pages":
        tifffile.imwrite(path, planes, rowsperstrip=7, **options)
    elif kind == "big endian":
        tifffile.imwrite(path, planes, byteorder=">", **options)
    return path


KINDS = ("array", "npy", "zarr", "ome-zarr", "geo", "chunky", "planar", "pages", "big endian")


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_of_files_keep_bands_and_dtype(kind, dtype, tmp_path):
    image = noise(5, dtype)
    given = write(tmp_path, kind, image)
    with open_source(given, 5, dtype) as source, open_source(image, 5, dtype) as array:
        assert (source.channels, source.image_dtype) == (5, dtype)
        for top, left, height, width in WINDOWS:
            found = source.read(top, left, height, width)
            assert found.dtype == dtype and found.flags.writeable and found.flags.c_contiguous
            np.testing.assert_array_equal(found, image[top : top + height, left : left + width])
        size = (33, 21)
        resized = source.read(3, 5, 100, 90, size=size)
        assert resized.dtype == dtype and resized.shape == (*size, 5)
        np.testing.assert_array_equal(resized, array.read(3, 5, 100, 90, size=size))


@pytest.mark.parametrize("kind", KINDS)
def test_other_bands_and_dtypes_are_named(kind, tmp_path):
    given = write(tmp_path, kind, noise(5, "uint16"))
    name = "array" if kind == "array" else given.name
    bands = r"an image must have 4 bands \(channels=4\). Received: [15] band"
    with pytest.raises(DataError, match=f"{name}: {bands}"):
        open_source(given, 4, "uint16")
    (tmp_path / "other").mkdir()
    given = write(tmp_path / "other", kind, noise(5, "float32"))
    for dtype in ("uint8", "uint16"):
        with pytest.raises(DataError, match=f"{name}: .*pixels must be {dtype}.*float32"):
            open_source(given, 5, dtype)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("pages", "big endian")])
def test_as_stored_means_all_bands(kind, tmp_path):
    image = noise(5, "uint16")
    with open_source(write(tmp_path, kind, image), None, None) as source:
        assert (source.channels, source.image_dtype) == (5, "uint16")
        np.testing.assert_array_equal(source.read(0, 0, 120, 160), image)


@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_bands_are_resized_as_pillow_resizes_each(channels, dtype):
    image = noise(channels, dtype)
    with open_source(image, channels, dtype) as source:
        found = source.read(0, 0, 120, 160, size=(50, 70))
    for band in range(channels):
        values = image[..., band] if dtype == "uint8" else image[..., band].astype(np.float32)
        expected = Image.fromarray(values).resize((70, 50), Image.Resampling.BILINEAR)
        expected = np.asarray(expected)
        expected = np.rint(expected) if dtype == "uint16" else expected
        np.testing.assert_array_equal(found[..., band], expected)


def test_bands_that_repeat_are_resized_as_rgb():
    rgb = noise(3, "uint8")
    six = np.concatenate([rgb, rgb], axis=2)
    with open_source(rgb) as three, open_source(six, 6) as source:
        expected = three.read(1, 2, 100, 90, size=(40, 30))
        found = source.read(1, 2, 100, 90, size=(40, 30))
    np.testing.assert_array_equal(found, np.concatenate([expected, expected], axis=2))


def test_large_windows_are_read_in_blocks(monkeypatch):
    image = noise(4, "uint16", (300, 200))
    with open_source(image, 4, "uint16") as source:
        whole = source.read(0, 0, 300, 200, size=(90, 61))
        monkeypatch.setattr("keras_maskrcnn.data.sources.source._BLOCK_PIXELS", 1000)
        monkeypatch.setattr("keras_maskrcnn.data.sources.source._BLOCK", (50, 60))
        blocks = source.read(0, 0, 300, 200, size=(90, 61))
    np.testing.assert_allclose(blocks, whole, atol=1)


def test_a_pyramid_serves_small_sizes(tmp_path):
    image = noise(5, "uint16", (256, 256)) // 8 * 8
    half = image[::2, ::2] // 2  # other values, to see which level was read
    options = {"photometric": "minisblack", "planarconfig": "separate", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(image.transpose(2, 0, 1), subifds=1, **options)
        file.write(half.transpose(2, 0, 1), subfiletype=1, **options)
    with open_source(tmp_path / "a.tif", 5, "uint16") as source:
        assert source.levels == ((256, 256), (128, 128))
        np.testing.assert_array_equal(source.read(0, 0, 256, 256, size=(128, 128)), half)


def test_gray_and_colors_become_each_other_as_in_files(tmp_path):
    rgb = noise(3, "uint8")
    Image.fromarray(rgb).save(tmp_path / "a.png")
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    for source in (rgb, tmp_path / "a.png", Image.fromarray(rgb)):
        with open_source(source, 1) as opened:
            np.testing.assert_array_equal(opened.read(0, 0, 120, 160)[..., 0], expected)
    deep = noise(1, "uint16")[..., 0]
    Image.fromarray(deep).save(tmp_path / "b.png")
    for channels in (1, 3):
        for source in (deep, tmp_path / "b.png", Image.fromarray(deep)):
            with open_source(source, channels, "uint16") as opened:
                found = opened.read(0, 0, 120, 160)
            np.testing.assert_array_equal(found, np.repeat(deep[..., None], channels, axis=2))
    with open_source(tmp_path / "b.png", None, None) as opened:
        assert (opened.channels, opened.image_dtype) == (1, "uint16")
    with pytest.raises(DataError, match="pixels must be uint16"):
        open_source(tmp_path / "a.png", 3, "uint16")


def test_numbers_of_other_dtypes_are_floats():
    heights = np.arange(-6000, 13200, dtype=np.int16).reshape(120, 160)
    with open_source(heights, None, None) as source:
        assert source.image_dtype == "float32"
        np.testing.assert_array_equal(source.read(0, 0, 120, 160)[..., 0], heights)


def test_nan_is_refused_where_it_is_read_unless_the_file_says_that_nothing_is_there(tmp_path):
    image = noise(2, "float32")
    image[50, 60, 1] = np.nan
    with open_source(image, 2, "float32") as source:
        source.read(0, 0, 50, 160)
        with pytest.raises(DataError, match="numbers of an image must be finite"):
            source.read(40, 0, 40, 160)
    sides = {"height": 120, "width": 160, "dtype": "float32", "nodata": np.nan}
    scale = rasterio.Affine(2, 0, 0, 0, -2, 0)
    with rasterio.open(tmp_path / "a.tif", "w", transform=scale, count=2, **sides) as file:
        file.write(image.transpose(2, 0, 1))
    with open_source(tmp_path / "a.tif", 2, "float32") as source:
        np.testing.assert_array_equal(source.read(0, 0, 120, 160), np.nan_to_num(image))


def test_a_source_that_is_open_must_fit():
    with open_source(noise(5, "uint16"), 5, "uint16") as source:
        with reading(source, 5, "uint16") as same, reading(source, None, None) as any_kind:
            assert same is source and any_kind is source
        assert not source.closed
        line = r"array: the source must be opened with channels=3, image_dtype='uint8'. Received: "
        with pytest.raises(ValueError, match=line + "channels=5, image_dtype='uint16'"):
            reading(source)


def test_more_bands_than_a_model_has_are_refused():
    with pytest.raises(DataError, match=r"array: an image must have 1 to 32 bands. Received: 33"):
        open_source(np.zeros((4, 5, 33)), None, None)
    with pytest.raises(ValueError, match="channels must be a whole number in 1..32"):
        open_source(np.zeros((4, 5, 33)), 33)
    with pytest.raises(ValueError, match="image_dtype must be one of"):
        open_source(np.zeros((4, 5, 3)), 3, "float64")


def test_8_bit_rgb_is_what_sources_always_gave():
    assert Wanted() == RGB and RGB.is_rgb and not Wanted(3, "uint16").is_rgb
