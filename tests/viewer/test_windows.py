import numpy as np
import pytest

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer.windows import look_at, read_window


class Broken:
    """An image of 3000 x 2000 pixels of value 60; rows 1100 to 1199 of its left half are broken."""

    shape, dtype = (3000, 2000, 3), np.dtype(np.uint8)

    def __getitem__(self, window):
        rows, columns = (part.indices(n) for part, n in zip(window, self.shape[:2], strict=True))
        if rows[0] < 1200 and rows[1] > 1100 and columns[0] < 1000:
            raise OSError("a bad block")
        return np.full((rows[1] - rows[0], columns[1] - columns[0], 3), 60, np.uint8)


def test_broken_parts_are_gray_and_the_rest_is_read():
    with open_source(Broken()) as source:
        with pytest.raises(DataError, match="a bad block"):
            read_window(source, 0, 0, 3000, 2000)
        pixels = read_window(source, 0, 0, 3000, 2000, on_error="skip")
    assert pixels.shape == (3000, 2000, 3) and set(np.unique(pixels)) == {60, 128}
    gray = pixels[..., 0] == 128
    assert gray[1100:1200, :1000].all() and not gray[:, 1000:].any()
    assert gray.sum() <= 1000 * (100 + 2 * 256)


def test_a_small_copy_of_a_broken_image():
    with open_source(Broken()) as source:
        pixels = read_window(source, 0, 0, 3000, 2000, size=(300, 200), on_error="skip")
    assert pixels.shape == (300, 200, 3) and pixels[115, 50, 0] == 128
    assert pixels[20, 50, 0] == pixels[280, 50, 0] == pixels[115, 150, 0] == 60


def test_nothing_can_be_read():
    class Gone(Broken):
        def __getitem__(self, window):
            raise OSError("gone")

    with open_source(Gone()) as source:
        pixels = read_window(source, 5, 7, 1000, 900, size=(3, 1), on_error="skip")
    assert pixels.tolist() == [[[128] * 3]] * 3


def test_whole_windows_are_those_of_the_source():
    image = np.arange(30 * 20 * 3, dtype=np.uint8).reshape(30, 20, 3)
    with open_source(image) as source:
        np.testing.assert_array_equal(read_window(source, 3, 4, 5, 6), image[3:8, 4:10])
        small = source.read(0, 0, 30, 20, size=(10, 7))
        np.testing.assert_array_equal(read_window(source, 0, 0, 30, 20, size=(10, 7)), small)


class Deep(Broken):
    """The same with five bands of 16 bits, which rise from 0 to 2999 along y."""

    shape, dtype = (3000, 2000, 5), np.dtype(np.uint16)

    def __getitem__(self, window):
        super().__getitem__(window)
        rows = np.arange(3000, dtype=np.uint16)[window[0], None, None]
        columns = range(*window[1].indices(2000))
        return np.broadcast_to(rows * np.uint16([1, 2, 3, 4, 0]), (len(rows), len(columns), 5))


def test_percentiles_are_those_of_the_whole_image_and_broken_parts_do_not_count():
    with open_source(Deep(), 5, "uint16") as source:
        with pytest.raises(DataError, match="a bad block"):
            look_at(source)
        look = look_at(source, bands=(4, 1, 5), on_error="skip")
        np.testing.assert_allclose(look.low, [4 * 55, 55, 0], rtol=0.1)
        np.testing.assert_allclose(look.high, [4 * 2940, 2940, 0], rtol=0.01)
        pixels = read_window(source, 1000, 0, 500, 2000, on_error="skip", look=look)
        top = read_window(source, 0, 0, 100, 2000, on_error="skip", look=look)
    assert (pixels[150, 20] == 128).all()  # gray as in all images
    red, green, blue = pixels[450, 1500].astype(int)
    assert red == green and blue == 0 and abs(red - 255 * (1450 - 55) / 2885) <= 2
    assert not top[:50].any()  # not stretched by itself


def test_a_look_without_percentiles_reads_nothing():
    class Unread(Broken):
        def __getitem__(self, window):
            raise AssertionError("it was read")

    with open_source(Unread()) as source:
        assert look_at(source).high.tolist() == [255] * 3
    deep = type("DeepUnread", (Unread,), {"shape": (9, 9, 5), "dtype": np.dtype(np.uint16)})()
    with open_source(deep, 5, "uint16") as source:
        assert look_at(source, (5,), ("values", 10, 4095)).high.tolist() == [4095]
        assert look_at(source, None, "none").high.tolist() == [65535] * 3
