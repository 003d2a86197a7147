import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.export.calibration import CalibrationImages, check_calibration


@pytest.fixture
def folder(tmp_path):
    """Ten images of one gray each, 0 to 9, half of them in a subfolder."""
    (tmp_path / "b").mkdir()
    for i in range(10):
        name = f"{i}.png" if i < 5 else f"b/{i}.PNG"
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def grays(images):
    return [int(image[0, 0, 0]) for image in images]


def test_a_folder_gives_images_that_are_spread_over_it(folder):
    assert grays(CalibrationImages(folder, 100)) == list(range(10))
    some = CalibrationImages(folder, 4)
    assert grays(some) == [0, 2, 5, 7] and len(some) == 4
    assert grays(some) == [0, 2, 5, 7]  # NNCF reads them several times


def test_a_decoded_copy_beside_an_image_does_not_count(folder):
    np.save(folder / "2.npy", np.full((4, 6, 3), 200, np.uint8))
    np.save(folder / "alone.npy", np.full((4, 6, 3), 100, np.uint8))
    assert sorted(grays(CalibrationImages(folder, 100))) == [*range(10), 100]


def test_arrays_are_taken_from_the_first_on(folder):
    images = (np.full((4, 6, 3), i, np.uint8) for i in range(10))  # such as a generator
    some = CalibrationImages(images, 3)
    assert grays(some) == grays(some) == [0, 1, 2] and not some.paths


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (
            np.zeros((4, 6, 3), np.float32),
            r"calibration\[1\] with shape=\(4, 6, 3\), dtype=float32",
        ),
        (np.zeros((1, 4, 6, 3), np.uint8), r"calibration\[1\] with shape=\(1, 4, 6, 3\)"),
        (np.zeros((0, 6, 3), np.uint8), r"calibration\[1\] with shape=\(0, 6, 3\)"),
        ("a.png", r"calibration\[1\] with shape=None"),
    ],
    ids=["floats", "batch", "empty", "path"],
)
def test_other_arrays_are_refused(array, received):
    with pytest.raises(ValueError, match=received):
        CalibrationImages([np.zeros((4, 6, 3), np.uint8), array], 10)


def test_what_holds_no_image_is_refused_with_its_name(folder):
    (folder / "empty").mkdir()
    with pytest.raises(ValueError, match="at least one image. Received: calibration=.*empty"):
        CalibrationImages(folder / "empty", 10)
    with pytest.raises(ValueError, match=r"calibration=\[\]"):
        CalibrationImages([], 10)
    with pytest.raises(DataError, match="nowhere: no such folder"):
        CalibrationImages(folder / "nowhere", 10)
    with pytest.raises(ValueError, match="calibration_images=0"):
        CalibrationImages(folder, 0)


def test_a_broken_file_is_named_at_once(folder):
    (folder / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png"):
        CalibrationImages(folder, 100)


@pytest.mark.parametrize(("orientation", "size"), [("ignore", (4, 6)), ("apply", (6, 4))])
def test_photos_on_their_side_are_turned_if_asked(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.png", exif=exif)
    (image,) = CalibrationImages(tmp_path, 1, Reading(orientation=orientation))
    assert image.shape == (*size, 3)


def test_int8_and_nothing_else_takes_images(folder):
    both = ("float32", "int8")
    assert len(check_calibration("onnx", both, "int8", folder, 100)) == 10
    assert check_calibration("onnx", both, "float32", None, 100) is None
    for precision, calibration, message in (
        ("int8", None, "int8 needs calibration images. Received: calibration=None"),
        ("float32", folder, "only int8 takes images. Received: calibration="),
        ("float16", None, "onnx must be float32 or int8. Received: precision='float16'"),
    ):
        with pytest.raises(ValueError, match=message):
            check_calibration("onnx", both, precision, calibration, 100)
