"""data/images.py: every kind of file becomes 8-bit RGB, or one line that names it."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn.data import images
from keras_maskrcnn.data.images import DataError, read_image


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
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)  # and no pixels behind it
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", b""), (b"IEND", b"")):
        checksum = zlib.crc32(kind + data)
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match="a.png: .*400000000 pixels"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="b.png: .* 599 pixels. Received: width=30, height=20"):
        read_image(tmp_path / "b.png")
