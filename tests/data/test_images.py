"""data/images.py: every kind of file becomes 8-bit RGB, or one line that names it."""

import logging
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn.data import images, pillow_files, pixels
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import (
    DARK,
    TOLD,
    TURNED,
    read_header,
    read_image,
    read_with_remarks,
)
from keras_maskrcnn.data.orientation import upright

PIXELS = np.random.default_rng(0).integers(0, 256, [8, 12, 3]).astype(np.uint8)


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 30, 3)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_become_their_high_byte_and_alpha_goes(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 2**16, [5, 6, channels]).astype(np.uint16)
    tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(pixels))
    colours = pixels[..., :3] if channels > 2 else np.repeat(pixels[..., :1], 3, axis=-1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), colours >> 8)


def test_transparent_pixels_keep_their_colour(tmp_path):
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, 0], [10, 20, 30])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [None, 0, b"\x00\x80"])
def test_palettes_become_their_colours(tmp_path, transparency):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    options = {} if transparency is None else {"transparency": transparency}
    image.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[10, 20, 30], [40, 50, 60]]])


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [("L", 77, [77] * 3), ("1", 1, [255] * 3), ("LA", (77, 5), [77] * 3)],
)
def test_grey_images_have_three_equal_channels(tmp_path, mode, colour, expected):
    Image.new(mode, (2, 2), colour).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0, 0], expected)


def test_cmyk_jpegs_become_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")  # red
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[4, 4], [255, 0, 0], atol=4)


def test_bytes_are_read_as_the_file_they_come_from(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2**16, [5, 6, 1]).astype(np.uint16)
    content = tf.io.encode_png(pixels).numpy()
    (tmp_path / "a.png").write_bytes(content)
    np.testing.assert_array_equal(read_image("b", content), read_image(tmp_path / "a.png"))
    assert images.read_size("b", content) == (5, 6)
    with pytest.raises(DataError, match=r"^shard 3: image cannot be decoded"):
        read_image("shard 3", content[:60])


def test_an_error_is_one_line_whatever_a_file_is_called(tmp_path):
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a\r\nb.png")
    assert str(caught.value).endswith("a\\r\\nb.png: image file does not exist.")


def test_broken_images_are_named(tmp_path):
    with pytest.raises(DataError, match="none.png: image file does not exist"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(DataError, match="text.png: not an image, or in none of the formats JPEG"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match="image cannot be opened. Received: .*directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_images_are_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, [50, 50, 3]).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(DataError, match=f"a.{suffix}: image cannot be decoded. Received: "):
        read_image(path)


def test_images_above_178_megapixels_are_refused_before_decoding(tmp_path, monkeypatch):
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)  # and no pixels after it
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = zlib.crc32(kind + data)
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match="a.png: .*400000000 pixels"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(pillow_files, "MAX_PIXELS", 599)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="b.png: .* 599 pixels. Received: width=30, height=20"):
        read_image(tmp_path / "b.png")


def save(path, pixels, orientation=None, **options):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


# JPEG 2000 and AVIF.

LOSSLESS = {"jp2": {}, "j2k": {}, "avif": {"quality": 100, "subsampling": "4:4:4"}}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_jpeg_2000_and_avif_are_read(tmp_path, suffix):
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    if {"avif": "AVIF"}.get(suffix, "JPEG2000") not in images.FORMATS:
        pytest.skip(f"this Pillow does not read .{suffix}")
    exif[0x0112] = 6
    flat = np.repeat(PIXELS[..., :1], 3, axis=2)  # AVIF keeps these; colors differ by rounding
    Image.fromarray(flat).save(path, exif=exif, **LOSSLESS[suffix])
    assert path.suffix in images.SUFFIXES
    np.testing.assert_array_equal(read_image(path), flat)
    tag = 6 if suffix == "avif" else 1  # Pillow writes none into a JPEG 2000
    assert read_header(path) == ((8, 12), [TURNED] * (tag > 1))
    turned = read_image(path, orientation="apply")
    np.testing.assert_array_equal(turned, upright(flat, tag))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="image cannot be decoded. Received: "):
        read_image(path)


@pytest.mark.parametrize("bits", [12, 16])
def test_gray_jpeg_2000_keeps_its_numbers(bits):
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = np.random.default_rng(0).integers(0, 2**bits, (9, 7), np.uint16)
    content = imagecodecs.jpeg2k_encode(deep, level=0, reversible=True, bitspersample=bits)
    read = pixels.read_pixels("a.jp2", content, channels=1, dtype="uint16")
    np.testing.assert_array_equal(read[..., 0], deep)
    shallow, remarks = read_with_remarks("a.jp2", content)
    np.testing.assert_array_equal(shallow[..., 0], deep >> 8)
    assert remarks == [DARK] * (bits == 12)


@pytest.mark.parametrize(
    ("name", "start"),
    [("JPEG2000", b"\0\0\0\x0cjP  \r\n\x87\n"), ("AVIF", b"\0\0\0 ftypavif\0\0\0\0")],
)
def test_a_pillow_without_a_format_is_named(tmp_path, monkeypatch, name, start):
    known = pillow_files._OPTIONAL[name]
    monkeypatch.setitem(pillow_files._OPTIONAL, name, (False, *known[1:]))
    monkeypatch.setattr(pillow_files, "FORMATS", ("JPEG", "PNG"))
    (tmp_path / "a").write_bytes(start + bytes(20))
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a")
    line = f"a: reading {name} needs a Pillow with {name} (11.3 or later). Received: Pillow "
    assert line in str(caught.value) and str(caught.value).endswith(" without it.")


# The orientation tag.


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_a_turn_is_remarked_on_where_the_sides_do_not_tell_it(tmp_path, suffix):
    remarked = {}
    for sides_tell in (False, True):
        for tag in range(9):
            path = save(tmp_path / f"{tag}.{suffix}", PIXELS, tag)
            assert read_header(path)[0] == (8, 12)
            remarks = read_header(path, sides_tell=sides_tell)[1]
            found = [tag] if remarks == [TURNED] else []
            assert bool(remarks) == (tag > 1) and set(remarks) <= {
                TURNED,
                TOLD,
            }
            assert read_with_remarks(path, sides_tell=sides_tell)[1] == remarks
            remarked.setdefault(sides_tell, []).extend(found)
    assert remarked == {False: [2, 3, 4, 5, 6, 7, 8], True: [2, 3, 4]}
    square = save(tmp_path / f"square.{suffix}", PIXELS[:, :8], 6)
    assert read_header(square, sides_tell=True)[1] == [TURNED]


def test_broken_exif_is_no_turn(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_header(tmp_path / "a.jpg") == ((8, 12), [])


def test_turned_images_of_a_set_are_logged_in_one_line(tmp_path, caplog):
    names = [save(tmp_path / f"{tag}.png", PIXELS, tag).name for tag in (1, 2, 3, 4, 2, 6)]
    with caplog.at_level(logging.WARNING):
        assert not list(pixels.size_errors(tmp_path, names, [(8, 12)] * 6))
    (line,) = caplog.messages
    assert line.startswith("4 images have an orientation tag (EXIF).")
    assert line.endswith("('2.png', '3.png', '4.png', ...)")


# 16 bits.


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_that_stay_low_are_remarked_on(tmp_path, channels):
    def remarks(top):
        pixels = np.full([5, 6, channels], top, np.uint16)
        tf.io.write_file(str(tmp_path / "a.png"), tf.io.encode_png(pixels))
        return read_with_remarks(tmp_path / "a.png")[1]

    assert remarks(4095) == remarks(2**14 - 1) == [DARK]
    assert remarks(2**14) == remarks(65535) == []


def test_8_bits_may_be_dark(tmp_path):
    assert read_with_remarks(save(tmp_path / "a.png", PIXELS // 8))[1] == []


# TIFF.


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiffs_are_read_as_stored(tmp_path, orientation, compression):
    options = {"orientation": orientation, "compression": compression}
    path = save(tmp_path / "a.tif", PIXELS, **options)
    np.testing.assert_array_equal(read_image(path), PIXELS)
    gray = PIXELS[..., 0].astype(np.uint16) * 256 + 7
    path = save(tmp_path / "b.TIFF", gray, **options)
    assert images.read_size(path) == (8, 12)
    np.testing.assert_array_equal(read_image(path), np.repeat(PIXELS[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(read_image("b", path.read_bytes()), read_image(path))


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, [255] * 3),
        ("L", 77, [77] * 3),
        ("LA", (77, 5), [77] * 3),
        ("RGBA", (10, 20, 30, 0), [10, 20, 30]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("I;16B", 77 * 256, [77] * 3),
    ],
)
def test_tiffs_of_any_kind_become_rgb(tmp_path, mode, color, expected):
    Image.new(mode, (3, 2), color).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.full([2, 3, 3], expected))


def test_the_first_page_of_a_tiff_counts(tmp_path):
    pages = [Image.fromarray(255 - PIXELS)]
    save(tmp_path / "a.tif", PIXELS, save_all=True, append_images=pages)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), PIXELS)


def tiff(path, fields, data=b""):
    """Writes a TIFF of these fields (tag -> numbers); its pixels, if any, are `data`."""
    fields = {258: [8], 259: [1], 262: [1], 277: [1], **fields}
    end, entries, values = 8 + 2 + 12 * len(fields) + 4, b"", b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            packed, values = struct.pack("<I", end + len(values)), values + packed
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    header = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)
    path.write_bytes(header + values + data)
    return path


SIDES, STRIP = {256: [16], 257: [16]}, {273: [8], 279: [64]}


def test_white_may_be_0_in_a_tiff_of_16_bits(tmp_path):
    fields = {256: [1], 257: [1], 258: [16], 262: [0], 273: [122], 278: [1], 279: [2]}
    path = tiff(tmp_path / "a.tif", fields, struct.pack("<H", 0xFF00))
    np.testing.assert_array_equal(read_image(path), [[[0, 0, 0]]])


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        (
            {258: [32] * 3, 277: [3], 262: [2], 339: [3] * 3, **STRIP},
            r"of this kind is not read; only gray or RGB .* bits=\(32, 32, 32\), .*format=\(3",
        ),
        ({258: [8] * 7, 277: [7], **STRIP}, r"of this kind is not read.* bits=\(8, 8, 8"),
        ({258: [32], 339: [3], **STRIP}, "cannot be decoded. Received: pixels that are floats"),
        ({258: [32], **STRIP}, "pixels that are signed integers, or integers of 32 bits"),
        ({256: [0], **STRIP}, "not read.* width=0, height=16"),
        ({256: [2**31], 257: [2**31], **STRIP}, "image cannot be opened. Received: Image size"),
        ({259: [5], 322: [2**15], 323: [2**15], 324: [8], 325: [9]}, "more or larger parts than"),
        ({273: [8] * 300, 278: [1], 279: [9] * 300}, "more or larger parts than its size needs"),
        ({259: [5], 278: [2**32 - 1], **STRIP}, "image cannot be decoded. Received: "),
        ({273: [2**31], 279: [64]}, "image cannot be decoded. Received: "),
    ],
)
def test_tiffs_that_are_not_read_are_named_and_cost_little(tmp_path, fields, line):
    path = tiff(tmp_path / "a.tif", {**SIDES, **fields})
    with pytest.raises(DataError, match=f"a.tif: .*{line}") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_tiff_but_its_first_bytes_is_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0\xff")
    with pytest.raises(DataError, match="a.tif: a TIFF .* Received: a broken header"):
        read_image(tmp_path / "a.tif")
