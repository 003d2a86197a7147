import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import png


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (13, 1), (1, 7), (40, 31)])
def test_other_libraries_read_the_pixels(dtype, bands, size):
    top = np.iinfo(dtype).max + 1
    pixels = np.random.default_rng(0).integers(0, top, (*size, bands)).astype(dtype)
    content = png.encode(pixels)
    assert content == png.encode(pixels)
    read = imagecodecs.png_decode(content).reshape(pixels.shape)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)
    if dtype == "uint8":
        image = np.asarray(Image.open(io.BytesIO(content)))
        np.testing.assert_array_equal(image.reshape(pixels.shape), pixels)


def test_what_a_png_holds():
    assert png.fits(1, "uint16") and png.fits(4, "uint8")
    assert not png.fits(2, "uint8") and not png.fits(5, "uint8") and not png.fits(3, "float32")
