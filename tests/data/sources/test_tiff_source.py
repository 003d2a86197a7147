"""data/sources/tiff_source.py: every layout of a TIFF gives its pixels."""

import re
import sys

import numpy as np
import pytest
import tifffile
from outside import IMPORTED_FROM, run
from PIL import Image

from keras_maskrcnn.data import DataError, images, pillow_files
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.data.sources.tiff_source import TiffSource

TILES = {"tile": (64, 48)}
STRIPS = {"rowsperstrip": 7}


def write(path, pixels, **options):
    """Writes a TIFF; gray unless told otherwise."""
    gray = pixels.ndim == 2
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack" if gray else "rgb", **options})


@pytest.mark.parametrize("parts", [TILES, STRIPS, {"rowsperstrip": 120}], ids=str)
@pytest.mark.parametrize(
    "compression", [None, "deflate", "lzw", "packbits", "zstd", "lzma", "webp", "jpeg2000"]
)
def test_compressions(pixels, require_windows, tmp_path, parts, compression):
    lossless = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    write(tmp_path / "a.tif", pixels, compression=compression, **parts, **lossless)
    with open_source(tmp_path / "a.tif") as source:
        assert type(source) is TiffSource
        require_windows(source)


def test_jpeg_is_as_pillow_reads_it(tmp_path, require_windows):
    smooth = np.indices([120, 160]).sum(0)[..., None] // [2, 3, 4]
    write(tmp_path / "a.tif", smooth.astype(np.uint8), compression="jpeg", tile=(64, 64))
    with open_source(tmp_path / "a.tif") as source, Image.open(tmp_path / "a.tif") as image:
        assert abs(source.read(0, 0, 120, 160) - smooth).max() <= 20
        require_windows(source, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "predictor": True}], ids=str)
@pytest.mark.parametrize("parts", [TILES, STRIPS], ids=str)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bits_of_both_byte_orders_and_layouts(
    pixels, require_windows, tmp_path, options, parts, order, planar
):
    options = {**options, **parts, "byteorder": order}
    deep = pixels.astype(np.uint16) * 256 + pixels[::-1]
    stored = deep.transpose(2, 0, 1) if planar == "separate" else deep
    write(tmp_path / "a.tif", stored, planarconfig=planar, bigtiff=order == "<", **options)
    require_windows(open_source(tmp_path / "a.tif"))


def test_gray_white_is_zero_palettes_and_alpha(pixels, require_windows, tmp_path):
    gray = np.repeat(pixels[..., :1], 3, axis=2)
    write(tmp_path / "gray.tif", pixels[..., 0], **TILES)
    require_windows(open_source(tmp_path / "gray.tif"), gray)
    write(tmp_path / "white.tif", pixels[..., 0], photometric="miniswhite", **STRIPS)
    require_windows(open_source(tmp_path / "white.tif"), ~gray)
    deep = pixels[..., 0].astype(np.uint16) * 256
    write(tmp_path / "deep.tif", deep, photometric="miniswhite", compression="zstd")
    require_windows(open_source(tmp_path / "deep.tif"), ~gray)
    rgba = np.concatenate([pixels, pixels[..., :1]], axis=2)
    write(tmp_path / "alpha.tif", rgba, extrasamples=["unassalpha"], **TILES)
    require_windows(open_source(tmp_path / "alpha.tif"))
    ramp = np.arange(256, dtype=np.uint16)
    colors = np.stack([ramp * 256, ramp[::-1] * 256, ramp * 0 + 0x1234])
    write(tmp_path / "palette.tif", pixels[..., 0], photometric="palette", colormap=colors)
    expected = np.stack([pixels[..., 0], ~pixels[..., 0], pixels[..., 0] * 0 + 0x12], axis=-1)
    require_windows(open_source(tmp_path / "palette.tif"), expected)


def test_pixels_are_those_of_read_image(pixels, tmp_path):
    """Whether tifffile is installed makes no difference."""
    write(tmp_path / "a.tif", pixels, compression="deflate", **TILES)
    write(tmp_path / "b.tif", pixels[..., 0].astype(np.uint16) * 200, photometric="miniswhite")
    Image.fromarray(pixels).convert("P").save(tmp_path / "c.tif")
    with tifffile.TiffWriter(tmp_path / "d.tif") as writer:  # the first of two pages
        writer.write(pixels, photometric="rgb")
        writer.write(pixels[::-1], photometric="rgb")
    Image.fromarray(pixels).save(tmp_path / "e.tif", tiffinfo={0x0112: 6})  # a turn, ignored
    for name in "abcde":
        with open_source(tmp_path / f"{name}.tif") as source:
            assert type(source) is TiffSource
            expected = images.read_image(tmp_path / f"{name}.tif")
            np.testing.assert_array_equal(source.read(0, 0, 120, 160), expected)


@pytest.mark.parametrize("mode", ["1", "CMYK", "LAB"])
def test_other_kinds_of_tiff_are_read_by_pillow(pixels, require_windows, tmp_path, mode):
    image = Image.fromarray(pixels).convert("L" if mode == "LAB" else mode)
    image.save(tmp_path / "a.tif")
    with open_source(tmp_path / "a.tif") as source:
        assert type(source).__name__ == ("TiffSource" if mode == "LAB" else "PillowSource")
        require_windows(source, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("dtype", ["f4", "i2", "u4", "u8"])
def test_kinds_that_nobody_reads_are_refused(tmp_path, dtype):
    write(tmp_path / "a.tif", np.zeros([32, 32], dtype))
    with pytest.raises(DataError, match=rf"a\.tif: a TIFF of this kind.*bits={int(dtype[1]) * 8}"):
        open_source(tmp_path / "a.tif")


def test_a_pyramid_of_ome_tiff_and_its_scale(pixels, tmp_path):
    metadata = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(pixels, photometric="rgb", subifds=2, metadata=metadata, **TILES)
        for step in (2, 4):
            writer.write(pixels[::step, ::step], photometric="rgb", subfiletype=1, **TILES)
    with open_source(tmp_path / "a.ome.tif") as source:
        assert source.levels == ((120, 160), (60, 80), (30, 40))
        assert source.microns_per_pixel == 0.25
        reduced = source.read(40, 80, 60, 40, (30, 20))
        np.testing.assert_array_equal(reduced, pixels[40:100:2, 80:120:2])
        assert source.crs is None and source.transform is None


def test_reduced_pages_are_a_pyramid_and_labels_are_not(pixels, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(pixels, photometric="rgb", resolution=(20000, 20000), resolutionunit=3)
        writer.write(pixels[::3, ::3], photometric="rgb", subfiletype=1)
        writer.write(pixels[:40, :40], photometric="rgb", subfiletype=1)  # other proportions
        writer.write(pixels[::2, ::2], photometric="rgb")  # a page of its own
    with open_source(tmp_path / "a.tif") as source:
        assert source.levels == ((120, 160), (40, 54))
        assert source.microns_per_pixel == 0.5


def test_sparse_tiles_are_black(tmp_path):
    write(tmp_path / "a.tif", np.full([64, 64], 9, np.uint8), tile=(32, 32))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tif:
        tags, page = tif.pages[0].tags, tif.pages[0]
        tags[324].overwrite([page.dataoffsets[0], 0, *page.dataoffsets[2:]])
        tags[325].overwrite([page.databytecounts[0], 0, *page.databytecounts[2:]])
    with open_source(tmp_path / "a.tif") as source:
        assert source.read(0, 0, 64, 64)[:, :, 0].sum() == 9 * 3 * 32 * 32
        assert not source.read(0, 32, 32, 32).any()


@pytest.mark.filterwarnings("ignore:Truncated")  # Pillow's
def test_without_tifffile_pillow_reads_what_fits(pixels, require_windows, tmp_path, monkeypatch):
    write(tmp_path / "a.tif", pixels, **TILES)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with open_source(tmp_path / "a.tif") as source:
        assert type(source).__name__ == "PillowSource"
        require_windows(source)
    monkeypatch.setattr(pillow_files, "MAX_PIXELS", 1000)
    with pytest.raises(ImportError, match=r"a\.tif: needs the extra tiff: pip install .*\[tiff\]"):
        open_source(tmp_path / "a.tif")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:100])
    with pytest.raises(DataError, match=r"cut\.tif: "):
        open_source(tmp_path / "cut.tif")


def test_without_imagecodecs_only_plain_tiff_is_read_in_windows(pixels, tmp_path, monkeypatch):
    write(tmp_path / "plain.tif", pixels, **TILES)
    write(tmp_path / "packed.tif", pixels, compression="deflate", **TILES)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    kinds = {"plain.tif": "TiffSource", "packed.tif": "PillowSource"}
    for name, kind in kinds.items():
        with open_source(tmp_path / name) as source:
            assert type(source).__name__ == kind
    monkeypatch.setattr(pillow_files, "MAX_PIXELS", 1000)
    with pytest.raises(ImportError, match=r"packed\.tif: needs the extra tiff"):
        open_source(tmp_path / "packed.tif")


MEMORY = """
import resource, sys, zlib
import imagecodecs, numpy, tifffile
from keras_maskrcnn.data.sources import open_source
side, (path, kind) = 18_000, sys.argv[1:]
shapes = {"tiles": [256, 256, 3], "strips": [100, side, 3]}
part = zlib.compress(numpy.full(shapes[kind], 77, numpy.uint8).tobytes())
layout = {"tile": (256, 256)} if kind == "tiles" else {"rowsperstrip": 100}
parts = iter([part] * (71 * 71 if kind == "tiles" else 180))
tifffile.imwrite(path, parts, shape=(side, side, 3), dtype="u1", compression="deflate",
                 photometric="rgb", **layout)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_source(path) as source:
    for top in (0, 9000, side - 1024):
        for left in range(0, side - 1024, 1024):
            assert (source.read(top, left, 1024, 1024) == 77).all()
    assert (source.read(0, 0, 6000, side, (60, 180)) == 77).all()
print("MIB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("parts", ["tiles", "strips"])
def test_memory_is_that_of_the_window_and_the_cache(tmp_path, parts):
    """The image has 927 MiB of pixels. The cache has 128, and a block that is resized 110."""
    done = run(sys.executable, "-c", MEMORY, tmp_path / "a.tif", parts, cwd=IMPORTED_FROM)
    grown = float(re.search(r"MIB ([\d.]+)", done).group(1))
    assert grown < 400, done
