import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_maskrcnn.data import DataError, images, pillow_files, pixels
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.pixels import read_pixels

RNG = np.random.default_rng(2)
DEEP = RNG.integers(0, 65536, (21, 34, 5)).astype(np.uint16)
SHALLOW = (DEEP >> 8).astype(np.uint8)


def png(array):
    return imagecodecs.png_encode(np.ascontiguousarray(array))


def npy_content(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def tiff(array, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_rgb_of_8_bits_is_read_image(tmp_path, suffix, mode):
    path = tmp_path / f"a.{suffix}"
    image = Image.fromarray(SHALLOW[..., :3]).convert(mode)
    (image.convert("RGB") if suffix in ("jpg", "webp") and mode == "P" else image).save(path)
    np.testing.assert_array_equal(read_pixels(path), images.read_image(path))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_16_bit_png_is_exact(count):
    stored = DEEP[..., :count]
    content = png(stored[..., 0] if count == 1 else stored)
    for dtype in ("uint16", "float32"):
        read = read_pixels("a.png", content, channels=count, dtype=dtype)
        assert read.dtype == dtype
        np.testing.assert_array_equal(read, stored)
    high = read_pixels("a.png", content, channels=count)
    np.testing.assert_array_equal(high, stored >> 8)


def test_interlaced_16_bit_png_is_exact():
    """The seven passes of Adam7, written by hand, because no library here writes them."""
    import struct
    import zlib

    stored, rows = DEEP[..., :3], b""
    for y, x, dy, dx in (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):
        for row in stored[y::dy, x::dx].astype(">u2"):
            rows += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", stored.shape[1], stored.shape[0], 16, 2, 0, 0, 1)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    read = read_pixels("a.png", content, dtype="uint16")
    np.testing.assert_array_equal(read, stored)


def test_gray_is_one_band_and_colors_become_gray(tmp_path):
    color = Image.fromarray(SHALLOW[..., :3])
    for mode, expected in (("L", color.convert("L")), ("RGB", color.convert("L"))):
        color.convert(mode).save(tmp_path / "a.png")
        read = read_pixels(tmp_path / "a.png", channels=1)
        np.testing.assert_array_equal(read[..., 0], np.asarray(expected))
    color.convert("L").convert("LA").save(tmp_path / "a.png")
    read = read_pixels(tmp_path / "a.png", channels=1)
    np.testing.assert_array_equal(read[..., 0], np.asarray(color.convert("L")))
    color.quantize(16).save(tmp_path / "a.png")
    gray = Image.open(tmp_path / "a.png").convert("RGB").convert("L")
    read = read_pixels(tmp_path / "a.png", channels=1)
    np.testing.assert_array_equal(read[..., 0], np.asarray(gray))


def test_alpha_is_a_band_only_if_it_is_asked_for(tmp_path):
    rgba = SHALLOW[..., :4]
    Image.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png", channels=4), rgba)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), rgba[..., :3])
    gray = Image.fromarray(rgba[..., :3]).convert("L")
    read = read_pixels(tmp_path / "a.png", channels=1)
    np.testing.assert_array_equal(read[..., 0], np.asarray(gray))


@pytest.mark.parametrize("stored", [DEEP, SHALLOW, DEEP.astype(np.float32) / 7 - 100])
@pytest.mark.parametrize("write", [npy_content, tiff])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_bands_keep_their_dtype(stored, write, count):
    array = stored[..., :count]
    options = {"photometric": "minisblack", "planarconfig": "contig"} if write is tiff else {}
    content = write(array[..., 0] if count == 1 else array, **options)
    dtype = array.dtype.name
    read = read_pixels("a", content, channels=count, dtype=dtype)
    assert read.dtype == array.dtype and read.flags.writeable
    np.testing.assert_array_equal(read, array)
    floats = read_pixels("a", content, channels=count, dtype="float32")
    np.testing.assert_array_equal(floats, array.astype(np.float32))
    reading = Reading(count, dtype)
    assert pixels.read_header("a", content, reading) == ((21, 34), [])


def test_pages_are_bands():
    content = tiff(np.moveaxis(DEEP, -1, 0), photometric="minisblack", planarconfig=None)
    assert len(tifffile.TiffFile(io.BytesIO(content)).pages) == 5
    read = read_pixels("a", content, channels=5, dtype="uint16")
    np.testing.assert_array_equal(read, DEEP)
    first = read_pixels("a", content, channels=1, dtype="uint16")
    np.testing.assert_array_equal(first, DEEP[..., :1])


def test_a_turned_tiff_has_its_stored_pixels(tmp_path):
    for count in (1, 3, 5):
        tifffile.imwrite(
            tmp_path / "a.tif",
            DEEP[..., :count] if count > 1 else DEEP[..., 0],
            photometric="minisblack",
            planarconfig="contig" if count > 1 else None,
            extratags=[(274, "H", 1, 6, True)],
            metadata=None,
        )
        reading = Reading(count, "uint16")
        read, _ = pixels.read_with_remarks(tmp_path / "a.tif", None, reading)
        np.testing.assert_array_equal(read, DEEP[..., :count])
        assert pixels.read_header(tmp_path / "a.tif", None, reading)[0] == (21, 34)


def test_remarks(tmp_path):
    Image.fromarray((DEEP[..., 0] >> 4).astype(np.uint16)).save(tmp_path / "a.png")
    assert pixels.read_with_remarks(tmp_path / "a.png", None, Reading(1))[1] == [images.DARK]
    assert pixels.read_with_remarks(tmp_path / "a.png", None, Reading(1, "uint16"))[1] == []
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SHALLOW[..., 0]).save(tmp_path / "a.png", exif=exif)
    for reading in (Reading(1), Reading()):
        assert pixels.read_with_remarks(tmp_path / "a.png", None, reading)[1] == [images.TURNED]
        assert pixels.read_header(tmp_path / "a.png", None, reading)[1] == [images.TURNED]
        told = pixels.read_header(tmp_path / "a.png", None, reading, sides_tell=True)[1]
        assert told == [images.TOLD]


@pytest.mark.parametrize(
    ("content", "channels", "dtype", "line"),
    [
        (png(SHALLOW[..., :3]), 5, "uint8", r"must have 5 bands \(channels=5\). Received: 3 ba"),
        (png(SHALLOW[..., 0]), 2, "uint8", r"must have 2 bands \(channels=2\). Received: 1 band."),
        (png(SHALLOW[..., :3]), 4, "uint8", "must have 4 bands .* Received: 3 bands."),
        (png(SHALLOW[..., :3]), 3, "uint16", "8 bits are read with .* Received: dtype=uint8"),
        (npy_content(SHALLOW), 3, "uint16", "must have 3 bands .* Received: 5 bands."),
        (npy_content(DEEP / 2), 5, "uint8", "image_dtype='float32'. Received: dtype=float64"),
        (npy_content(np.where(DEEP > 30000, DEEP, np.nan)), 5, "float32", "NaN or infinite"),
        (
            tiff(DEEP, photometric="minisblack", planarconfig="contig"),
            4,
            "uint16",
            "4 bands .* Received: 5 bands.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(content, channels, dtype, line):
    with pytest.raises(DataError, match=f"^a: .*{line}") as caught:
        read_pixels("a", content, channels=channels, dtype=dtype)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        png(SHALLOW[..., :3]),
        npy_content(SHALLOW[..., :3]),
        tiff(SHALLOW[..., :3], photometric="minisblack", planarconfig="contig"),
    ],
)
def test_the_header_tells_wrong_bands(content):
    with pytest.raises(DataError, match="a: .*must have 5 bands .* Received: 3 bands."):
        pixels.read_header("a", content, Reading(5))


@pytest.mark.parametrize(
    "content",
    [
        png(DEEP[..., :3]),
        npy_content(DEEP),
        tiff(DEEP, photometric="minisblack", planarconfig="contig"),
        tiff(DEEP[..., 0]),
        b"no image",
        b"",
    ],
)
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_cut_files_are_refused_in_one_line(content, share):
    for channels in (1, 3, 5):
        with pytest.raises(DataError, match="^a: ") as caught:
            read_pixels(
                "a", content[: int(share * len(content))], channels=channels, dtype="uint16"
            )
        assert "\n" not in str(caught.value)


def test_missing_files_and_too_many_pixels(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="none.png: image file does not exist."):
        read_pixels("none.png", channels=1)
    monkeypatch.setattr(pillow_files, "MAX_PIXELS", 600)
    (tmp_path / "a.png").write_bytes(png(DEEP[..., :3]))
    with pytest.raises(DataError, match="a.png: image has over 600 pixels. Received: width=34"):
        read_pixels(tmp_path / "a.png", channels=1)


def test_sizes_are_compared(tmp_path):
    np.save(tmp_path / "a.npy", DEEP)
    reading = Reading(5, "uint16")
    np.testing.assert_array_equal(pixels.read_sized(tmp_path / "a.npy", (21, 34), reading), DEEP)
    with pytest.raises(DataError, match="the json says width=21, height=34. Received: width=34"):
        pixels.read_sized(tmp_path / "a.npy", (34, 21), reading)


def test_pil_images():
    image = Image.fromarray(SHALLOW[..., :3])
    gray = np.asarray(image.convert("L"))[..., None]
    np.testing.assert_array_equal(pixels.from_pillow(image, channels=1), gray)
    np.testing.assert_array_equal(pixels.from_pillow(image), SHALLOW[..., :3])
    deep = Image.fromarray(DEEP[..., 0])
    read = pixels.from_pillow(deep, channels=1, dtype="uint16")
    np.testing.assert_array_equal(read, DEEP[..., :1])
    with pytest.raises(DataError, match="the PIL image: an image must have 5 bands"):
        pixels.from_pillow(image, channels=5)


def test_8_bit_bands_that_pillow_does_not_know_are_rgb_if_there_are_three():
    content = tiff(SHALLOW[..., :3], photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_pixels("a", content), SHALLOW[..., :3])
    assert pixels.read_header("a", content) == ((21, 34), [])
    for other in (DEEP.astype(np.float32), SHALLOW):
        content = tiff(other, photometric="minisblack", planarconfig="contig")
        for read in (read_pixels, pixels.read_header):
            with pytest.raises(DataError, match="a: a TIFF of this kind .* image_dtype= read mor"):
                read("a", content)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_broken_second_page_is_no_python_error(channels):
    content = bytearray(tiff(np.moveaxis(DEEP[..., :2], -1, 0), photometric="minisblack"))
    with tifffile.TiffFile(io.BytesIO(content)) as tif:
        start = tif.pages[1].tags["ImageWidth"].offset
    content[start : start + 2] = b"\1\0"  # the page then has no width
    if channels == 1:
        read = read_pixels("a", bytes(content), channels=1, dtype="uint16")
        np.testing.assert_array_equal(read, DEEP[..., :1])
        return
    with pytest.raises(DataError, match="a: .* Received: ") as caught:
        read_pixels("a", bytes(content), channels=channels, dtype="uint16")
    assert "\n" not in str(caught.value)
