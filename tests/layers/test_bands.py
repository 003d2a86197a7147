import numpy as np
import pytest

from keras_maskrcnn.catalog import for_bands
from keras_maskrcnn.layers.bands import adapt_kernel

KERNEL = np.random.default_rng(0).normal(size=(7, 7, 3, 4)).astype(np.float32)


def convolved(image, kernel, mean, std):
    """One output cell: the sum over all taps, of an image of the kernel's size."""
    normalized = (image - np.float64(mean)) / np.float64(std)
    return np.einsum("hwc,hwck->k", normalized, kernel.astype(np.float64))


@pytest.mark.parametrize("channels", [4, 5, 6, 7, 12, 32])
def test_bands_that_repeat_give_what_rgb_gives(channels):
    rgb = np.random.default_rng(1).uniform(0, 255, (7, 7, 3))
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    repeated = np.tile(rgb, 11)[..., :channels]
    adapted = adapt_kernel(KERNEL, channels)
    found = convolved(repeated, adapted, for_bands(mean, channels), for_bands(std, channels))
    assert adapted.shape == (7, 7, channels, 4) and adapted.dtype == np.float32
    np.testing.assert_allclose(found, convolved(rgb, KERNEL, mean, std), rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
def test_one_and_two_gray_bands_give_what_gray_rgb_gives(channels):
    gray = np.random.default_rng(2).uniform(0, 255, (7, 7, 1))
    mean, std = (110.0,) * 3, (50.0, 60.0, 70.0)
    found = convolved(gray, adapt_kernel(KERNEL, channels, std), 110.0, 60.0)
    expected = convolved(np.tile(gray, 3), KERNEL, mean, std)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    equal = adapt_kernel(KERNEL, channels)
    np.testing.assert_allclose(equal.sum(axis=2), KERNEL.sum(axis=2), atol=1e-6)


def test_the_extra_band_counts_half_and_its_source_the_other_half():
    adapted = adapt_kernel(KERNEL, 4)
    np.testing.assert_array_equal(adapted[:, :, [0, 3]], KERNEL[:, :, [0, 0]] / 2)
    np.testing.assert_array_equal(adapted[:, :, 1:3], KERNEL[:, :, 1:])


def test_rgb_stays():
    assert adapt_kernel(KERNEL, 3) is KERNEL


@pytest.mark.parametrize(
    ("kernel", "channels", "line"),
    [
        (KERNEL[:, :, :2], 4, r"kernel must be \(h, w, 3, K\). Received: shape=\(7, 7, 2, 4\)"),
        (KERNEL[0], 4, r"Received: shape=\(7, 3, 4\)"),
        (KERNEL, 0, "channels must be at least 1. Received: channels=0"),
    ],
)
def test_other_kernels_are_refused(kernel, channels, line):
    with pytest.raises(ValueError, match=line):
        adapt_kernel(kernel, channels)
