"""data/sources/pillow_source.py: images that are decoded whole, once."""

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError, pillow_files
from keras_maskrcnn.data.sources import open_source


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_windows_of_files(pixels, require_windows, tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", **options)
    with open_source(tmp_path / f"a.{suffix}") as source:
        require_windows(source)


def test_windows_of_pil_images(pixels, require_windows, tmp_path):
    require_windows(open_source(Image.fromarray(pixels)))
    assert open_source(Image.fromarray(pixels)).name == "PIL image"
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert open_source(image).name == str(tmp_path / "a.png")


def test_a_window_may_be_changed_and_the_file_is_decoded_once(pixels, tmp_path, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    source = open_source(tmp_path / "a.png")
    source.read(0, 0, 10, 10)[:] = 0
    (tmp_path / "a.png").unlink()
    np.testing.assert_array_equal(source.read(0, 0, 10, 10), pixels[:10, :10])


def test_an_image_that_is_too_large_is_told_of_tiff(pixels, tmp_path, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(pillow_files, "MAX_PIXELS", 1000)
    with pytest.raises(
        DataError, match=r"a\.png: image has over 1000 pixels.*keras3-maskrcnn\[tiff\]"
    ):
        open_source(tmp_path / "a.png")


def test_broken_files_are_refused(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.png: image cannot be decoded"):
        open_source(tmp_path / "cut.png").read(0, 0, 1, 1)
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"text\.png: not an image"):
        open_source(tmp_path / "text.png")
