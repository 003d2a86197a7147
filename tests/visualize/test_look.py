import numpy as np
import pytest

from keras_maskrcnn.visualize import look


def ramp(*bands, dtype=np.uint16, side=101):
    """(side, side, len(bands)): each band rises from 0 to the given value along x."""
    line = np.linspace(0, 1, side)
    image = np.broadcast_to(line[None, :, None] * np.array(bands), (side, side, len(bands)))
    return (image if np.dtype(dtype).kind == "f" else np.rint(image)).astype(dtype)


def test_percentiles_of_each_band_become_black_and_white():
    image = ramp(1000, 60000, 20)
    shown = look.look_of(image).picture(image)
    assert shown.dtype == np.uint8 and shown.shape == image.shape
    assert not shown[:, :3].any() and (shown[:, -3:] == 255).all()
    # 2 % and 98 % of the ramp; the half is gray. A band of 20 has 21 values only.
    np.testing.assert_allclose(shown[0, 50], 127.5, atol=1)
    expected = np.clip((np.arange(101) - 2) / 96, 0, 1) * 255
    np.testing.assert_allclose(shown[0, :, :2], expected[:, None].repeat(2, 1), atol=1)


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (None, [0, 1, 2]),
        ((3, 2, 1), [2, 1, 0]),
        ([5, 4, 1], [4, 3, 0]),
        ((4,), [3, 3, 3]),
        ((2, 4), [1, 3, None]),
    ],
)
def test_bands_count_from_one(bands, expected):
    image = np.arange(5, dtype=np.uint8) * np.ones((4, 6, 1), np.uint8) + 7
    shown = look.look_of(image, bands).picture(image)
    assert shown[0, 0].tolist() == [0 if band is None else band + 7 for band in expected]


def test_one_band_is_gray_and_two_are_red_and_green():
    assert look.look_of(np.zeros((2, 2, 1), np.uint8)).bands == (0,)
    image = np.full((2, 2, 2), (10, 20), np.uint8)
    assert look.look_of(image).picture(image)[0, 0].tolist() == [10, 20, 0]


@pytest.mark.parametrize("bands", [(), (0,), (6, 2, 1), (1, 2, 3, 4), "abc", 3, ("a",)])
def test_bands_that_do_not_exist_are_named(bands):
    with pytest.raises(ValueError, match=r"numbers from 1 to 5, the bands of the image. Received"):
        look.look_of(np.zeros((2, 2, 5), np.uint8), bands)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int64"])
def test_no_stretch_keeps_the_range_of_the_dtype(dtype):
    white = {"uint16": 65535, "float32": 1}.get(dtype, 255)
    image = ramp(white, white / 3, 0, dtype=dtype, side=7)
    shown = look.look_of(image, stretch="none").picture(image)
    np.testing.assert_array_equal(shown, np.rint(image.astype(float) * 255 / white))


def test_values_are_the_same_for_all_bands_and_8_bits_can_be_stretched():
    image = ramp(4095, 2000, 65535)
    shown = look.look_of(image, stretch=("values", 0, 4095)).picture(image)
    expected = np.clip(image / 4095, 0, 1) * 255
    np.testing.assert_array_equal(shown, np.rint(expected))
    dark = ramp(10, 10, 10, dtype=np.uint8)
    assert look.look_of(dark).picture(dark).max() == 10
    assert look.look_of(dark, stretch=(2, 98)).picture(dark).max() == 255


@pytest.mark.parametrize(
    "stretch",
    [
        "all",
        (98, 2),
        (2, 2),
        (-1, 98),
        (2, 101),
        ("values", 1, 1),
        ("values", 0, np.inf),
        (1, 2, 3),
        7,
    ],
)
def test_other_stretches_are_refused(stretch):
    with pytest.raises(ValueError, match=r"^stretch must be .* Received: stretch="):
        look.look_of(np.zeros((2, 2, 3), np.uint16), stretch=stretch)


def test_a_constant_band_is_black_and_few_bright_pixels_are_seen():
    image = np.full((100, 100, 3), (700, 0, 5), np.uint16)
    image[3, 4, 1] = 900  # both percentiles of this band are 0
    shown = look.look_of(image).picture(image)
    assert shown[3, 4].tolist() == [0, 255, 0] and shown.sum() == 255


def test_pixels_that_are_no_numbers_do_not_change_the_others():
    image = ramp(5.0, 3.0, 1.0, dtype=np.float32)
    clean = look.look_of(image).picture(image)
    holes = np.concatenate([image, np.full((1, 101, 3), np.nan, np.float32)])
    holes[-1, 1], holes[-1, 2] = np.inf, -np.inf
    shown = look.look_of(holes).picture(holes)
    np.testing.assert_array_equal(shown[:-1], clean)
    assert (shown[-1, 1] == 255).all() and not np.delete(shown[-1], 1, axis=0).any()
    assert not look.look_of(holes[-1:, 5:]).picture(holes[-1:, 5:]).any()  # no number at all


def test_large_images_are_sampled():
    image = np.zeros((3000, 1500, 1), np.uint16)
    image[::3, ::3] = 500  # the sample has every third row and column only
    found = look.look_of(image)
    assert (found.low, found.high) == (0, 500)
    image[:] = np.arange(1500)[:, None]
    np.testing.assert_allclose(look.look_of(image).high, np.percentile(image, 98), rtol=0.01)


def test_a_look_is_of_the_whole_image_and_not_of_a_window():
    image = ramp(1000, 1000, 1000)
    found = look.look_of(image)
    np.testing.assert_array_equal(found.picture(image[:, :50]), found.picture(image)[:, :50])
