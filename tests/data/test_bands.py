import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError, bands
from keras_maskrcnn.data.bands import Reading

RNG = np.random.default_rng(0)


def test_white_follows_from_the_dtype():
    whites = {dtype: Reading(1, dtype).pixel_max for dtype in bands.WHITES}
    assert whites == {"uint8": 255, "uint16": 65535, "float32": 1}
    fields = {"channels": 5, "image_dtype": "uint16", "pixel_max": 4095}
    assert Reading(**fields).fields() == {**fields, "orientation": "ignore"}
    assert Reading().is_rgb and Reading(pixel_max=100).is_rgb
    assert not Reading(4).is_rgb and not Reading(3, "uint16").is_rgb


def test_a_data_set_without_the_attributes_is_rgb():
    assert Reading.of(object()) == Reading(3, "uint8", 255)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"channels": 0}, r"channels must be a whole number in 1..32. Received: channels=0."),
        ({"channels": 33}, "Received: channels=33."),
        ({"channels": 2.0}, "Received: channels=2.0."),
        ({"image_dtype": "int16"}, "image_dtype must be one of .* Received: image_dtype='int16'."),
        ({"image_dtype": None}, "Received: image_dtype=None."),
        ({"pixel_max": 0}, "pixel_max must be a number above 0. Received: pixel_max=0."),
        ({"pixel_max": float("nan")}, "Received: pixel_max=nan."),
        ({"pixel_max": "255"}, "Received: pixel_max='255'."),
        (
            {"pixel_max": 256},
            "at most 255 for uint8.* Received: pixel_max=256, image_dtype='uint8'",
        ),
        ({"image_dtype": "uint16", "pixel_max": 255}, "above 255 for uint16.* pixel_max=255"),
    ],
)
def test_a_reading_that_cannot_be_is_refused(values, line):
    with pytest.raises(ValueError, match=line):
        Reading(**values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_gray_is_pillows(dtype):
    colors = RNG.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    gray = np.asarray(Image.fromarray(colors).convert("L"))
    factor = 1 if dtype == "uint8" else 257
    ours = bands.luma(colors.astype(dtype) * np.array(factor, dtype))[..., 0]
    assert ours.dtype == dtype
    np.testing.assert_allclose(ours / factor, gray, atol=0 if dtype == "uint8" else 0.51)


def test_gray_of_floats_is_the_weighted_mean():
    colors = RNG.random((4, 5, 3)).astype(np.float32)
    gray = colors @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(bands.luma(colors)[..., 0], gray, atol=1e-5)


@pytest.mark.parametrize(("found", "channels"), [(1, 3), (2, 3), (4, 3), (2, 1), (2, 2), (7, 7)])
def test_bands_that_fit(found, channels):
    pixels = RNG.integers(0, 256, (3, 4, found)).astype(np.uint8)
    expected = pixels[..., :channels] if found >= channels else pixels[..., [0] * channels]
    expected = pixels[..., [0] * channels] if found == 2 and channels == 3 else expected
    np.testing.assert_array_equal(bands.fit(pixels, "a.png", channels, "uint8"), expected)


@pytest.mark.parametrize(
    ("found", "channels", "colors"), [(3, 4, True), (1, 5, True), (5, 3, True), (4, 3, False)]
)
def test_bands_that_do_not_fit_are_named(found, channels, colors):
    pixels = np.zeros((3, 4, found), np.uint8)
    with pytest.raises(DataError, match=rf"^a.png: .*\(channels={channels}\). Received: {found} b"):
        bands.fit(pixels, "a.png", channels, "uint8", colors=colors)


def test_floats_keep_the_values_of_integers_and_8_bits_are_the_high_byte():
    pixels = np.array([[[-5], [300], [65535]]], np.int32)
    assert bands.fit(pixels, "", 1, "float32").ravel().tolist() == [-5, 300, 65535]
    deep = pixels[:, 1:].astype(np.uint16)
    assert bands.fit(deep, "", 1, "uint8").ravel().tolist() == [1, 255]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [("float32", "uint8"), ("int16", "uint8"), ("uint8", "uint16"), ("bool", "float32")],
)
def test_other_dtypes_are_refused(stored, asked):
    line = f"a.npy: pixels must be .* Received: dtype={stored}, image_dtype='{asked}'."
    with pytest.raises(DataError, match=line):
        bands.fit(np.zeros((2, 2), stored), "a.npy", 1, asked)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(bad):
    pixels = np.zeros((2, 3))
    pixels[0, 0] = bad
    with pytest.raises(DataError, match="a.tif: .*finite.* Received: 1 of 6 "):
        bands.fit(pixels, "a.tif", 1, "float32")
