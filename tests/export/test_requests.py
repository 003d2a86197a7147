"""Good images decode as in training; bad ones raise an error that names the image."""

import functools
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn.data.images import read_image
from keras_maskrcnn.data.pixels import read_pixels
from keras_maskrcnn.export import requests
from keras_maskrcnn.ops import images as image_ops


@functools.cache
def decoder(max_pixels, **reading):
    return tf.function(
        lambda image_bytes: requests.decode_images(
            image_bytes, 64, 96, "detectron2", 32, max_pixels, **reading
        ),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def decode(image_bytes, max_pixels=1_000_000, **reading):
    return decoder(max_pixels, **reading)(tf.constant(image_bytes, tf.string))


def picture(height=50, width=70):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, kind, **options)
    return file.getvalue()


def with_size(image_bytes, height, width):
    """Returns a file whose header is changed to another size."""
    changed = bytearray(image_bytes)
    if image_bytes[:4] == b"\x89PNG":
        changed[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    else:  # the size lies 5 bytes into the frame header
        start = image_bytes.index(b"\xff\xc0") + 5
        changed[start : start + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(changed)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


RGB, PALETTE = Image.fromarray(picture()), Image.fromarray(picture()).quantize(17)
GOOD = {
    "rgb png": encoded(RGB, "PNG"),
    "grey png": encoded(RGB.convert("L"), "PNG"),
    "black and white png": encoded(RGB.convert("1"), "PNG"),
    "transparent png": encoded(Image.fromarray(picture().repeat(2, 2)[..., :4]), "PNG"),
    "palette png": encoded(PALETTE, "PNG"),
    "transparent palette png": encoded(PALETTE, "PNG", transparency=3),
    "16 bit png": tf.io.encode_png(picture().astype(np.uint16) * 255 + 99).numpy(),
    "jpeg": encoded(RGB, "JPEG"),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "grey jpeg": encoded(RGB.convert("L"), "JPEG"),
    "cmyk jpeg": encoded(RGB.convert("CMYK"), "JPEG"),
    "turned jpeg": encoded(RGB, "JPEG", exif=exif(6)),
    "1 x 1": encoded(picture(1, 1), "PNG"),
    "20000 x 10": encoded(np.zeros((20000, 10, 3), np.uint8), "JPEG"),
}


@pytest.mark.parametrize("name", GOOD)
def test_pixels_are_those_of_read_image(name):
    found = decode([GOOD[name]])
    expected = read_image(name, GOOD[name])
    assert found["original_sizes"].numpy().tolist() == [list(expected.shape[:2])]
    resized = image_ops.resize(expected, 64, 96, "detectron2")
    height, width = found["sizes"][0].numpy()
    assert (height, width) == resized.shape[:2]
    np.testing.assert_array_equal(found["images"][0, :height, :width], resized)


def deep(bands):
    """A PNG of 16 bits."""
    pixels = np.random.default_rng(bands).integers(0, 65536, (50, 70, bands)).astype(np.uint16)
    return tf.io.encode_png(pixels).numpy()


READINGS = {
    "gray": {"channels": 1},
    "rgba": {"channels": 4},
    "gray of 12 bits": {"channels": 1, "image_dtype": "uint16", "pixel_max": 4095.0},
    "colors of 16 bits": {"channels": 3, "image_dtype": "uint16", "pixel_max": 65535.0},
    "rgba of 16 bits": {"channels": 4, "image_dtype": "uint16", "pixel_max": 65535.0},
}


@pytest.mark.parametrize("name", READINGS)
def test_other_bands_and_16_bits_are_those_of_read_pixels(name):
    reading = READINGS[name]
    channels, dtype = reading["channels"], reading.get("image_dtype", "uint8")
    files = [deep(1), deep(3), deep(4)]
    if name == "gray":
        files += [x for key, x in GOOD.items() if key != "20000 x 10"]
    elif channels == 4:
        files = [deep(4)] + ([GOOD["transparent png"]] if dtype == "uint8" else [])
    for file in files:
        found = decode([file], **reading)["images"][0]
        expected = read_pixels(name, file, channels=channels, dtype=dtype)
        white = reading.get("pixel_max", 255.0)
        scaled = image_ops.scale_pixels(expected, white)
        resized = image_ops.resize(scaled, 64, 96, whole=dtype == "uint8")
        height, width = resized.shape[:2]
        np.testing.assert_allclose(found[:height, :width], resized, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "file", "line"),
    [
        ("colors of 16 bits", "rgb png", r"image_bytes\[0\] must be a PNG of 16 bits\.\]"),
        ("gray of 12 bits", "jpeg", r"image_bytes\[0\] must be a PNG of 16 bits\.\]"),
        ("rgba", "rgb png", r"image_bytes\[0\] must be a PNG of 4 bands .RGB and alpha.\.\]"),
        ("rgba", "transparent palette png", "must be a PNG of 4 bands"),
    ],
)
def test_files_that_lack_what_the_model_takes_are_refused(name, file, line):
    with pytest.raises(tf.errors.InvalidArgumentError, match=line):
        decode([GOOD[file]], **READINGS[name])


@pytest.mark.parametrize(
    ("channels", "dtype", "encoded"),
    [(1, "uint8", True), (4, "uint16", True), (2, "uint8", False), (3, "float32", False)],
)
def test_what_no_file_can_hold_is_told(channels, dtype, encoded):
    reason = requests.why_not_encoded(channels, dtype)
    assert (reason == "") == encoded and (encoded or f"not {channels} of {dtype}" in reason)


def test_images_of_floats_must_be_finite():
    images = tf.constant([[[[1.0, 2.0]]]])
    assert requests.check_images(images, 9).dtype == tf.float32
    with pytest.raises(tf.errors.InvalidArgumentError, match="images must be finite. Received: Na"):
        requests.check_images(images * np.nan, 9)


def test_sizes_may_differ():
    found = decode([GOOD["jpeg"], encoded(picture(80, 60), "PNG")])
    assert found["images"].shape == (2, 96, 96, 3)
    assert found["sizes"].numpy().tolist() == [[64, 90], [85, 64]]
    assert not found["images"][0, 64:].numpy().any()


JPEG, PNG = GOOD["jpeg"], GOOD["rgb png"]
GIF = encoded(RGB, "GIF", save_all=True, append_images=[Image.fromarray(picture()[::-1])])
NOT_AN_IMAGE = r"image_bytes\[1\] is neither a JPEG nor a PNG, or its header is broken\.\]"
CUT_OFF = r"image_bytes\[1\] is broken or cut off\.\]"
BAD = {
    "empty batch": ([], r"image_bytes must hold at least one image\.\]"),
    "zero bytes": ([JPEG, b""], r"image_bytes\[1\] is empty\.\]"),
    "text": ([JPEG, b"hello, this is no image"], NOT_AN_IMAGE),
    "animated gif": ([JPEG, GIF], NOT_AN_IMAGE),
    "bmp": ([JPEG, encoded(RGB, "BMP")], NOT_AN_IMAGE),
    "jpeg of 3 bytes": ([JPEG, JPEG[:3]], NOT_AN_IMAGE),
    "png of 8 bytes": ([JPEG, PNG[:8]], NOT_AN_IMAGE),
    "png without pixels": ([JPEG, with_size(PNG, 0, 70)], NOT_AN_IMAGE),
    "jpeg without end": ([JPEG, JPEG[:-2]], CUT_OFF),
    "half a jpeg": ([JPEG, JPEG[: len(JPEG) // 2]], CUT_OFF),
    "half a progressive jpeg": ([PNG, GOOD["progressive jpeg"][:1500]], CUT_OFF),
    "half a png": ([JPEG, PNG[: len(PNG) // 2]], CUT_OFF),
    "png of a header": ([JPEG, PNG[:30]], CUT_OFF),
    "png of 500 megapixels": (
        [JPEG, with_size(PNG, 25_000, 20_000)],
        r"image_bytes\[1\] is too large: the images of a request have at most 1000000 pixels\. "
        r"Received: size=\[25000 20000\]\.\]",
    ),
    "jpeg of 500 megapixels": ([with_size(JPEG, 25_000, 20_000)], r"image_bytes\[0\] is too large"),
    "png of 4e18 pixels": ([with_size(PNG, 2**31 - 1, 2**31 - 1)] * 5, r"\[0\] is too large"),
    "png of negative sides": ([JPEG, with_size(PNG, 2**31, 2**31)], NOT_AN_IMAGE),
    "two bad ones": ([GIF, b""], r"image_bytes\[1\] is empty\.\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_names_the_image_and_the_reason(name):
    image_bytes, message = BAD[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(image_bytes)


def test_the_limit_is_of_all_images_together():
    assert decode([JPEG, JPEG], max_pixels=7000)["sizes"].shape == (2, 2)  # 50 x 70 each
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image_bytes\[1\] is too large"):
        decode([JPEG, JPEG], max_pixels=6999)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 5, 6, 3), r"at least one pixel\. Received: shape=\[0 5 6 3\]\.\]"),
        ((1, 5, 0, 3), r"at least one pixel\. Received: shape=\[1 5 0 3\]\.\]"),
        ((2, 5, 6, 3), r"at most 59 pixels\. Received: shape=\[2 5 6 3\]\.\]"),
    ],
)
def test_images_without_pixels_or_with_too_many_are_refused(shape, message):
    check = tf.function(requests.check_images)
    assert check(tf.zeros([1, 5, 6, 3], tf.uint8), 59).shape == (1, 5, 6, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        check(tf.zeros(shape, tf.uint8), 59)


def test_masks_of_more_than_two_gigabytes_are_refused_before_they_are_made():
    check = tf.function(requests.check_masks)
    sizes = [[1, 5000], [4000, 1]]  # 2 images, 100 masks, 4000 x 5000 pixels
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"shape=\[2, 100, 4000, 5000\]\.\]"):
        check(sizes, 100)
    assert check(sizes, 50).shape == (2, 2)


def test_proposals_are_for_each_image():
    check = tf.function(requests.check_proposals)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"for 2 images\. Received: .* for 3"):
        check(tf.zeros([3, 5, 4]), 2)
