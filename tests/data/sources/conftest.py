"""Pixels that are written in every format."""

import numpy as np
import pytest


@pytest.fixture
def pixels():
    """(120, 160, 3) uint8 of noise, in which no two windows are equal."""
    return np.random.default_rng(0).integers(0, 256, [120, 160, 3], np.uint8)


@pytest.fixture
def require_windows(pixels):
    """Function that requires windows of a source to equal those of an image, and closes it."""

    def check(source, image=None):
        image = pixels if image is None else image
        assert (source.height, source.width) == image.shape[:2]
        for top, left, height, width in [
            (0, 0, *image.shape[:2]),
            (37, 61, 70, 98),
            (119, 1, 1, 1),
        ]:
            window = source.read(top, left, height, width)
            assert window.dtype == np.uint8 and window.flags.writeable
            expected = image[top : top + height, left : left + width]
            np.testing.assert_array_equal(window, expected)
        source.close()

    return check
