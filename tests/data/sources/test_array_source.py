"""data/sources/array_source.py: windows of arrays in memory and on disk."""

import numpy as np
import pytest
import zarr

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source


class Lazy:
    """An array of another library: shape, dtype and slicing, and it notes what was read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, window):
        part = self.array[window]
        self.most = max(self.most, part.size)
        return part


def test_arrays_of_every_kind(pixels, require_windows, tmp_path):
    require_windows(open_source(pixels))
    require_windows(open_source(Lazy(pixels)))
    require_windows(open_source(zarr.array(pixels, chunks=(64, 50, 3))))
    require_windows(open_source(pixels[..., 0]), np.repeat(pixels[..., :1], 3, axis=2))
    memmap = np.memmap(tmp_path / "a.raw", np.uint16, "w+", shape=(120, 160, 1))
    memmap[:] = pixels[..., :1].astype(np.uint16) << 8
    source = open_source(memmap)
    require_windows(source, np.repeat(pixels[..., :1], 3, axis=2))
    assert source.name.endswith("a.raw")


def test_only_the_window_is_read(pixels):
    lazy = Lazy(pixels)
    open_source(lazy).read(10, 10, 20, 30)
    assert lazy.most == 20 * 30 * 3


def test_npy_files(pixels, require_windows, tmp_path):
    np.save(tmp_path / "a.npy", pixels)
    np.save(tmp_path / "b.npy", np.asfortranarray(pixels))
    for name in ("a.npy", "b.npy"):
        with open_source(tmp_path / name) as source:
            require_windows(source)
            assert source.name == str(tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.zeros([4, 4]), np.zeros([4, 4], bool), np.zeros([4, 4, 2], "u1")]
)
def test_arrays_that_are_no_images_are_refused(array, tmp_path):
    with pytest.raises(ValueError, match=r"^array: an image must be .* Received: shape=\(4, 4"):
        open_source(array)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=r"a\.npy: not a .npy file of an image. Received: an image"):
        open_source(tmp_path / "a.npy")


def test_a_dtype_of_another_library_is_refused():
    class Foreign:
        shape, dtype = (4, 4), "torch.uint8"

        def __getitem__(self, window):
            return None

    with pytest.raises(ValueError, match="array: an array must have a dtype of numpy. Received"):
        open_source(Foreign())


def test_broken_npy_files_are_refused(tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros([100, 100], np.uint8))
    content = (tmp_path / "whole.npy").read_bytes()
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    cases = {
        "cut.npy": content[:5000],
        "header.npy": content[:20],
        "text.npy": content[:10] + b"x" * 118,
        "huge.npy": content.replace(b"(100, 100), }", b"(2**40, 3), }"),
        "vast.npy": content.replace(b"(100, 100), }   ", b"(99999999, 99), }"[:16]),
    }
    for name, broken in cases.items():
        (tmp_path / name).write_bytes(broken)
    for name in [*cases, "objects.npy"]:
        with pytest.raises(DataError, match=f"{name}: not a .npy file of an image. Received: ."):
            open_source(tmp_path / name)


def test_a_failing_array_is_an_error_with_the_window():
    class Failing(Lazy):
        def __getitem__(self, window):
            raise OSError("disk gone")

    source = open_source(Failing(np.zeros([10, 10], np.uint8)))
    with pytest.raises(DataError, match=r"array: a window cannot be read. .*disk gone.*top=2"):
        source.read(2, 3, 4, 5)
