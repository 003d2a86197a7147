import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn import DataError, visualize


def test_8_bits_stay_as_they_are():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    np.testing.assert_array_equal(visualize.as_rgb(rgb), rgb)
    np.testing.assert_array_equal(visualize.as_rgb(rgb.astype(np.float32)), rgb)  # as in batches
    np.testing.assert_array_equal(visualize.as_rgb(rgb[..., 0]), rgb[..., :1].repeat(3, 2))
    np.testing.assert_array_equal(visualize.as_rgb(rgb, bands=(3, 2, 1)), rgb[..., ::-1])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_other_dtypes_are_stretched(dtype):
    image = np.random.default_rng(0).random((50, 60, 5)) * (1 if dtype == np.float32 else 3000)
    shown = visualize.as_rgb(image.astype(dtype), bands=(5, 4, 1))
    assert shown.shape == (50, 60, 3) and (shown.min(), shown.max()) == (0, 255)
    near = visualize.as_rgb(image.astype(dtype), bands=(5,))
    np.testing.assert_array_equal(near[..., 0], shown[..., 0])


def test_a_pil_image_of_16_bits_is_stretched():
    image = np.arange(3000, dtype=np.uint16).reshape(50, 60)
    shown = visualize.as_rgb(Image.fromarray(image))
    np.testing.assert_array_equal(shown, visualize.as_rgb(image))
    assert shown.max() == 255


def test_a_file_is_read_with_its_bands(tmp_path):
    image = np.random.default_rng(0).integers(0, 4000, (20, 30, 5)).astype(np.uint16)
    np.save(tmp_path / "a.npy", image)
    for arguments in ({}, {"bands": (5, 2, 1)}, {"stretch": ("values", 0, 4095)}):
        shown = visualize.as_rgb(tmp_path / "a.npy", **arguments)
        np.testing.assert_array_equal(shown, visualize.as_rgb(image, **arguments))


def test_a_file_of_16_bits_shows_them_if_a_stretch_is_asked_for(tmp_path):
    image = np.arange(3000, dtype=np.uint16).reshape(50, 60)
    Image.fromarray(image).save(tmp_path / "a.png")
    plain = visualize.as_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(plain[..., 0], image >> 8)  # as `data` reads it
    stretched = visualize.as_rgb(tmp_path / "a.png", stretch=(2, 98))
    np.testing.assert_array_equal(stretched, visualize.as_rgb(image))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.npy"):
        visualize.as_rgb(tmp_path / "a.npy")


def test_draw_takes_bands_and_a_stretch():
    image = np.random.default_rng(0).integers(0, 4000, (520, 600, 5)).astype(np.uint16)
    nothing = {"boxes": np.zeros((0, 4)), "labels": []}
    drawn = visualize.draw(image, nothing, bands=(5, 2, 1), stretch=(0, 100))
    np.testing.assert_array_equal(drawn, visualize.as_rgb(image, (5, 2, 1), (0, 100)))
