"""data/sources/slide_source.py: whole slides, here TIFF files that OpenSlide accepts."""

import sys

import numpy as np
import pytest
import tifffile

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.data.sources.slide_source import SlideSource

APERIO = "Aperio Image Library v11.2.1\r\n160x120 [0,0 160x120] (64x48) |AppMag = 40|MPP = 0.2520"


@pytest.fixture
def slide(tmp_path, pixels):
    """An .svs file with two levels."""
    options = {"photometric": "rgb", "tile": (48, 64), "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        writer.write(pixels, description=APERIO, **options)
        writer.write(pixels[:32, :48], photometric="rgb", metadata=None)  # the thumbnail
        writer.write(pixels[::2, ::2], description=APERIO, **options)
    return tmp_path / "a.svs"


def test_windows_levels_and_scale(slide, pixels, require_windows):
    with open_source(slide) as source:
        assert type(source) is SlideSource
        assert source.levels == ((120, 160), (60, 80))
        assert source.microns_per_pixel == pytest.approx(0.252)
        reduced = source.read(20, 40, 60, 80, (30, 40))
        np.testing.assert_array_equal(reduced, pixels[20:80:2, 40:120:2])
        require_windows(source)


def test_after_a_broken_tile_other_windows_are_read(slide, pixels):
    with tifffile.TiffFile(slide) as tif:
        offset, count = tif.pages[0].dataoffsets[0], tif.pages[0].databytecounts[0]
    content = bytearray(slide.read_bytes())
    content[offset : offset + count] = bytes(count)
    slide.write_bytes(content)
    with open_source(slide) as source:
        with pytest.raises(DataError, match=r"a\.svs: a window cannot be read\..*top=0, left=0"):
            source.read(0, 0, 10, 10)
        np.testing.assert_array_equal(source.read(60, 70, 50, 60), pixels[60:110, 70:130])


def test_a_file_that_is_no_slide_is_refused(tmp_path):
    (tmp_path / "a.ndpi").write_text("no slide")
    with pytest.raises(DataError, match=r"a\.ndpi: no whole slide image that OpenSlide reads"):
        open_source(tmp_path / "a.ndpi")


@pytest.mark.parametrize("page", [0, 1])
def test_a_huge_tile_is_refused_before_openslide_sees_it(slide, page):
    """OpenSlide would abort the process."""
    with tifffile.TiffFile(slide, mode="r+b") as tif:
        tif.pages[2 * page].tags["TileLength"].overwrite(2**14 + 16)
        tif.pages[2 * page].tags["TileWidth"].overwrite(2**10)
    with pytest.raises(
        DataError, match=r"a\.svs: a slide with tiles of over 16777216 pixels is ref"
    ):
        open_source(slide)


def test_a_slide_with_thousands_of_pages_is_refused(tmp_path):
    """A loop of pages has no end."""
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        for _ in range(1001):
            writer.write(np.zeros([16, 16], np.uint8), photometric="minisblack", metadata=None)
    with pytest.raises(DataError, match=r"a\.svs: a slide of more than 1000 pages is refused"):
        open_source(tmp_path / "a.svs")


def test_without_openslide_its_extra_is_named(slide, monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    with pytest.raises(ImportError, match=r"a\.svs: needs the extra slides: pip install keras3-"):
        open_source(slide)
