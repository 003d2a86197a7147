import io
import struct

import numpy as np
import pytest

from keras_maskrcnn.data import DataError, npy

PIXELS = np.arange(60, dtype=np.uint16).reshape(4, 5, 3)


def content_of(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def header(text):
    text = text.encode("latin1").ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", ">f4", "u1"])
def test_arrays_come_back(tmp_path, order, dtype):
    array = np.array(PIXELS, dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    read = npy.read_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(read, PIXELS)
    assert read.dtype.isnative and read.flags.c_contiguous and read.flags.writeable
    assert npy.read_shape(tmp_path / "a.npy") == ((4, 5, 3), np.dtype(dtype))
    np.testing.assert_array_equal(npy.read_array("x", content_of(array)), PIXELS)


def test_two_axes_are_one_band():
    assert npy.read_shape("x", content_of(PIXELS[..., 0]))[0] == (4, 5, 1)


def test_files_are_known_by_their_names_and_contents_by_their_first_bytes():
    assert npy.is_npy("a.NPY") and not npy.is_npy("a.png")
    assert npy.is_npy("a.png", content_of(PIXELS)) and not npy.is_npy("a.npy", b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (content_of(PIXELS)[:-1], "a.npy: the array must have 120 bytes. Received: 119."),
        (content_of(PIXELS) + b"0", "a.npy: the array must have 120 bytes. Received: more."),
        (content_of(PIXELS)[:20], "a.npy: not a .npy file of an image. Received: "),
        (b"", "a.npy: not a .npy file of an image. Received: "),
        (b"\x93NUMPY\x07\x00" + bytes(200), "a.npy: not a .npy file of an image. Received: "),
        (content_of(np.array([{}, {}]), allow_pickle=True), "a.npy: an image must be .*object"),
        (content_of(np.zeros(3)), r"a.npy: an image must be .* shape=\(3,\), dtype=float64."),
        (content_of(np.zeros((3, 0))), r"a.npy: an image must be .* shape=\(3, 0\)"),
        (content_of(np.zeros((2, 2), bool)), "a.npy: an image must be .*dtype=bool"),
        (content_of(np.zeros((2, 2), complex)), "a.npy: an image must be .*dtype=complex128"),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000000), }"),
            "a.npy: image has over 178956970 pixels or 536870910 numbers. Received: shape=",
        ),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (10, 10, 10000000), }"),
            "a.npy: image has over",
        ),
        (
            header("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -5), }"),
            "a.npy: an image must be",
        ),
        (header("__import__('os').system('touch ran')"), "a.npy: not a .npy file of an image"),
    ],
)
def test_files_that_are_no_images_are_refused_in_one_line(tmp_path, monkeypatch, content, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"^{line}") as caught:
        npy.read_array("a.npy")
    assert "\n" not in str(caught.value) and not (tmp_path / "ran").exists()


def test_a_missing_file():
    with pytest.raises(DataError, match="none.npy: image file does not exist."):
        npy.read_array("none.npy")
