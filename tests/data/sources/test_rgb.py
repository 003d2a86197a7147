"""data/sources/rgb.py: arrays become 8-bit RGB, or one line."""

import numpy as np
import pytest

from keras_maskrcnn.data.sources.rgb import as_rgb, problem


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.uint8([[7]]), [7, 7, 7]),
        (np.uint8([[[7]]]), [7, 7, 7]),
        (np.uint8([[[1, 2, 3]]]), [1, 2, 3]),
        (np.uint8([[[1, 2, 3, 4]]]), [1, 2, 3]),
        (np.uint16([[0x1234]]), [0x12] * 3),
        (np.array([[[0x1234, 0x00FF, 0xFFFF]]], ">u2"), [0x12, 0, 0xFF]),
    ],
)
def test_pixels_become_rgb(pixels, expected):
    assert not problem(pixels.shape, pixels.dtype)
    rgb = as_rgb(pixels)
    assert rgb.tolist() == [[expected]] and rgb.dtype == np.uint8


def test_the_result_is_no_view():
    pixels = np.zeros([2, 2, 3], np.uint8)
    as_rgb(pixels)[:] = 1
    assert not pixels.any()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4,), "u1"),
        ((4, 4, 2), "u1"),
        ((4, 4, 5), "u1"),
        ((3, 4, 4, 3), "u1"),
        ((0, 4, 3), "u1"),
        ((4, 4), "f4"),
        ((4, 4), "?"),
        ((4, 4), "i2"),
        ((4, 4), "O"),
    ],
)
def test_other_arrays_are_refused_with_shape_and_dtype(shape, dtype):
    line = problem(shape, dtype)
    assert line.endswith(f"Received: shape={shape}, dtype={np.dtype(dtype)}")
