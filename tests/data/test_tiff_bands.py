import builtins
import struct

import numpy as np
import pytest
import tifffile

from keras_maskrcnn.data import DataError, npy, tiff_bands

RNG = np.random.default_rng(1)
BANDS = RNG.integers(0, 65536, (37, 50, 5)).astype(np.uint16)
KINDS = {
    "chunky": (BANDS, {"photometric": "minisblack", "planarconfig": "contig"}),
    "planar": (
        np.moveaxis(BANDS, -1, 0),
        {"photometric": "minisblack", "planarconfig": "separate"},
    ),
    "tiles": (BANDS, {"photometric": "minisblack", "planarconfig": "contig", "tile": (16, 16)}),
    "planar tiles": (
        np.moveaxis(BANDS, -1, 0),
        {"photometric": "minisblack", "planarconfig": "separate", "tile": (16, 16)},
    ),
    "deflate": (
        BANDS,
        {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"},
    ),
    "predictor": (
        BANDS,
        {
            "photometric": "minisblack",
            "planarconfig": "contig",
            "compression": "lzw",
            "predictor": 2,
        },
    ),
    "big": (BANDS, {"photometric": "minisblack", "planarconfig": "contig", "bigtiff": True}),
    "pages": (np.moveaxis(BANDS, -1, 0), {"photometric": "minisblack"}),
    "big end first": (
        BANDS,
        {"photometric": "minisblack", "planarconfig": "contig", "byteorder": ">"},
    ),
}


def write(path, kind):
    pixels, options = KINDS[kind]
    with tifffile.TiffWriter(
        path, bigtiff=options.get("bigtiff", False), byteorder=options.get("byteorder")
    ) as tif:
        options = {k: v for k, v in options.items() if k not in ("bigtiff", "byteorder")}
        for page in pixels if kind == "pages" else [pixels]:
            tif.write(page, contiguous=False, metadata=None, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_five_bands_come_back(tmp_path, kind):
    write(tmp_path / "a.tif", kind)
    pixels, colors = tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)
    np.testing.assert_array_equal(pixels, BANDS)
    assert not colors
    content = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(tiff_bands.read_tiff("no file", content, 5)[0], BANDS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int16", "uint32", "uint8"])
@pytest.mark.parametrize("predictor", [None, True])
def test_dtypes_come_back(tmp_path, dtype, predictor):
    pixels = (BANDS >> 8).astype(dtype)
    options = {"compression": "zlib", "predictor": predictor} if predictor else {}
    if predictor and dtype == "float16":
        options = {"compression": "zlib"}
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig", **options
    )
    read, _ = tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


def test_pages_of_another_size_or_number_are_no_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for side in (8, 8, 8, 4):
            tif.write(np.full((side, side), side, np.uint16), contiguous=False)
    assert tiff_bands.read_tiff(tmp_path / "a.tif", None, 4)[0].shape == (8, 8, 1)
    assert tiff_bands.read_tiff(tmp_path / "a.tif", None, 3)[0].shape == (8, 8, 1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for value in (1, 2, 3):
            tif.write(np.full((8, 8), value, np.uint16), contiguous=False)
    assert tiff_bands.read_tiff(tmp_path / "a.tif", None, 2)[0].shape == (8, 8, 1)
    assert (tiff_bands.read_tiff(tmp_path / "a.tif", None, 3)[0] == [1, 2, 3]).all()
    assert (tiff_bands.read_tiff(tmp_path / "a.tif", None, 1)[0] == 1).all()


def test_smaller_copies_are_no_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for value in (1, 2):
            tif.write(np.full((8, 8), value, np.uint16), contiguous=False)
            tif.write(np.zeros((8, 8), np.uint16), subfiletype=1, contiguous=False)
    pixels, _ = tiff_bands.read_tiff(tmp_path / "a.tif", None, 2)
    assert (pixels == [1, 2]).all()


def test_16_bit_colors_are_colors_and_white_may_be_0(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BANDS[..., :3], photometric="rgb")
    pixels, colors = tiff_bands.read_tiff(tmp_path / "a.tif", None, 3)
    np.testing.assert_array_equal(pixels, BANDS[..., :3])
    assert colors
    tifffile.imwrite(tmp_path / "a.tif", BANDS[..., 0], photometric="miniswhite")
    pixels, _ = tiff_bands.read_tiff(tmp_path / "a.tif", None, 1)
    np.testing.assert_array_equal(pixels[..., 0], 65535 - BANDS[..., 0])


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["chunky", "planar", "tiles", "deflate", "pages"])
def test_cut_files_are_refused_in_one_line(tmp_path, kind, share):
    write(tmp_path / "a.tif", kind)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"a\.tif: ") as caught:
        pixels, _ = tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)
        assert pixels.shape[2] == 1  # pages at the end are gone, so the rest are no bands
        raise DataError("a.tif: one page")
    assert "\n" not in str(caught.value)


def test_more_pixels_than_the_limit_are_refused_before_decoding(tmp_path, monkeypatch):
    write(tmp_path / "a.tif", "chunky")
    monkeypatch.setattr(npy, "MAX_NUMBERS", 9000)
    with pytest.raises(DataError, match=r"a.tif: image has over .* shape=\(37, 50, 5\)"):
        tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)


def test_a_strip_that_is_too_short_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BANDS, **KINDS["chunky"][1], metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    length = struct.pack("<I", BANDS.nbytes)
    assert content.count(length) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(length, struct.pack("<I", 40)))
    with pytest.raises(DataError, match="a.tif: .*too few bytes"):
        tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)


def test_lossy_compression_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BANDS[..., :3] >> 8, compression="jpeg2000")
    with pytest.raises(DataError, match="a.tif: a TIFF of this kind .* compression=34712"):
        tiff_bands.read_tiff(tmp_path / "a.tif", None, 3)


@pytest.mark.parametrize("missing", ["tifffile", "imagecodecs"])
def test_the_extra_is_named(tmp_path, monkeypatch, missing):
    write(tmp_path / "a.tif", "deflate")
    real = builtins.__import__

    def without(name, *args, **options):
        if name == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"a.tif: needs the extra tiff: pip install"):
        tiff_bands.read_tiff(tmp_path / "a.tif", None, 5)
