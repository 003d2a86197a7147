"""data/sources/source.py: windows are checked, and resized as Pillow does."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import Source
from keras_maskrcnn.data.sources import source as module


class Pyramid(Source):
    """An array and its reduced copies. It notes which windows of which level are read."""

    def __init__(self, *arrays):
        super().__init__("pyramid", [a.shape[:2] for a in arrays])
        self.arrays, self.reads = arrays, []

    def read_level(self, level, top, left, height, width):
        self.reads.append((level, top, left, height, width))
        assert 0 <= top <= top + height <= self.levels[level][0]
        assert 0 <= left <= left + width <= self.levels[level][1]
        return self.arrays[level][top : top + height, left : left + width]


def resized(image, size):
    """Pillow's bilinear resizing to (height, width)."""
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))


@pytest.mark.parametrize("size", [(40, 53), (1, 1), (99, 50), (121, 400), (119, 160)])
def test_a_resized_window_is_pillows(pixels, size):
    window = Pyramid(pixels).read(10, 20, 105, 133, size)
    np.testing.assert_array_equal(window, resized(pixels[10:115, 20:153], size))


@pytest.mark.parametrize("size", [(12, 17), (78, 111), (114, 139), (200, 500)])
def test_a_large_window_is_resized_block_by_block(pixels, size, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 0)
    monkeypatch.setattr(module, "_BLOCK", (24, 24))
    source = Pyramid(pixels)
    window = source.read(5, 20, 115, 140, size)
    difference = window.astype(int) - resized(pixels[5:120, 20:160], size)
    assert abs(difference).max() <= 1
    assert len(source.reads) > 20
    # A block and what the filter looks at around it.
    assert max(height for _, _, _, height, _ in source.reads) <= 24 + 2 * (115 / size[0] + 3)


def test_the_smallest_level_that_is_not_smaller_is_read(pixels):
    source = Pyramid(pixels, pixels[::2, ::2], pixels[::4, ::4])
    np.testing.assert_array_equal(source.read(0, 0, 120, 160, (60, 80)), pixels[::2, ::2])
    np.testing.assert_array_equal(source.read(40, 80, 80, 40, (20, 10)), pixels[40:120:4, 80:120:4])
    source.read(0, 0, 120, 160, (61, 80))
    source.read(0, 0, 120, 160)
    source.read(0, 0, 120, 160, (30, 41))
    levels = [level for level, *_ in source.reads]
    assert levels == [1, 2, 0, 0, 1]


def test_a_level_with_rounded_sides_gives_the_same_place():
    """A ramp: each pixel's value is its place, so a shift would show."""
    ramp = np.broadcast_to(np.linspace(0, 255, 1001), [101, 1001])
    ramp = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    source = Pyramid(ramp, resized(ramp, (50, 500)))
    exact = resized(ramp[10:90, 333:777], (20, 111)).astype(int)
    assert abs(source.read(10, 333, 80, 444, (20, 111)) - exact).max() <= 1
    assert [level for level, *_ in source.reads] == [1]


@pytest.mark.parametrize(
    "window",
    [
        (-1, 0, 10, 10),
        (0, -1, 10, 10),
        (111, 0, 10, 10),
        (0, 151, 10, 10),
        (0, 0, 121, 10),
        (0, 0, 10, 161),
        (0, 0, 0, 10),
        (0, 0, 10, -5),
        (2**70, 0, 1, 1),
    ],
)
def test_a_window_outside_of_the_image_is_refused(pixels, window):
    source = Pyramid(pixels)
    with pytest.raises(
        ValueError, match="pyramid: a window must lie inside the image of height=120"
    ):
        source.read(*window)
    with pytest.raises(ValueError, match="must lie inside"):
        source.read(*window, size=(5, 5))
    assert not source.reads


@pytest.mark.parametrize(
    ("window", "size"),
    [((0.5, 0, 1, 1), None), ((0, 0, "1", 1), None), ((0, 0, 2, 2), (1.5, 1)), ((0, 0, 2, 2), 4)],
)
def test_a_window_is_whole_numbers(pixels, window, size):
    with pytest.raises(ValueError, match="pyramid: a window needs whole numbers. Received: top="):
        Pyramid(pixels).read(*window, size)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (5,), (5, 5, 3)])
def test_a_size_is_height_and_width(pixels, size):
    with pytest.raises(ValueError, match=r"size must be \(height, width\) of at least 1. Received"):
        Pyramid(pixels).read(0, 0, 10, 10, size)


def test_an_image_that_no_machine_could_read_is_refused():
    with pytest.raises(
        DataError, match=r"a\.zarr: an image of over 1099511627776 pixels is refused"
    ):
        Source("a.zarr", [(2**20, 2**20 + 1)])
    assert Source("a.zarr", [(2**20, 2**20)]).width == 2**20


def test_reads_of_threads_take_turns(pixels):
    class Slow(Pyramid):
        def read_level(self, *window):
            assert self.lock.acquire(blocking=False), "two reads at once"
            time.sleep(0.001)
            self.lock.release()
            return super().read_level(*window)

    source = Slow(pixels)
    source.lock = threading.Lock()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        windows = list(pool.map(lambda i: source.read(i, i, 50, 60), range(40)))
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(window, pixels[i : i + 50, i : i + 60])


def test_a_source_that_is_closed_is_not_read(pixels):
    with Pyramid(pixels) as source:
        source.read(0, 0, 1, 1)
    source.close()
    with pytest.raises(ValueError, match="pyramid: the source is closed."):
        source.read(0, 0, 1, 1)
    assert len(source.reads) == 1
