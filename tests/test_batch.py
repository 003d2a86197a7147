import numpy as np
import pytest

from keras_maskrcnn.batch import as_batch

RESIZING = dict(min_side=64, max_side=96, resize_rule="detectron2", padding_multiple=32)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 128, 160, 3), np.uint8)


def test_plain_images_are_resized_and_padded_and_their_sizes_kept():
    batch = as_batch(IMAGES, **RESIZING)
    assert batch["images"].shape == (2, 64, 96, 3)
    np.testing.assert_array_equal(batch["sizes"], [[64, 80]] * 2)
    np.testing.assert_array_equal(batch["original_sizes"], [[128, 160]] * 2)
    assert not np.any(batch["images"][:, :, 80:])


def test_proposals_are_scaled_with_their_images():
    boxes = np.array([[[10, 20, 30, 40]]] * 2, np.float32)
    batch = as_batch({"images": IMAGES, "proposals": boxes}, proposals=True, **RESIZING)
    np.testing.assert_allclose(batch["proposals"], boxes / 2)


def test_a_batch_stays_as_it_is():
    batch = {name: None for name in ("images", "sizes", "original_sizes", "indices")}
    assert as_batch(batch, **RESIZING) is batch


@pytest.mark.parametrize(
    ("dtype", "white"), [("uint8", 255.0), ("uint8", 100.0), ("uint16", 4095.0), ("float32", 1.0)]
)
def test_pixels_of_any_dtype_come_out_in_0_to_255(dtype, white):
    """Only 8 bits that need no scale are rounded, as Pillow does."""
    images = (np.float32(IMAGES[..., :2]) / 255 * white).astype(dtype)
    reading = {"channels": 2, "image_dtype": dtype, "pixel_max": white}
    batch = as_batch(images, **RESIZING, **reading)
    expected = as_batch(IMAGES[..., [0, 1, 1]], **RESIZING)["images"][..., :2]
    assert batch["images"].shape == (2, 64, 96, 2)
    step = 255 / white if dtype != "float32" else 0
    np.testing.assert_allclose(batch["images"], expected, atol=1.01 + step)
    assert np.all(batch["images"] == np.round(batch["images"])) == (white == 255)


def test_a_batch_of_other_channels_is_refused_before_it_is_broadcast():
    batch = {**as_batch(IMAGES, **RESIZING)}
    batch["images"] = batch["images"][..., :1]
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\), RGB; for gray .*shape=\(2, 64, 96, 1"):
        as_batch(batch, **RESIZING)


@pytest.mark.parametrize(
    ("inputs", "proposals", "error"),
    [
        ({"images": IMAGES}, True, r"inputs lack \['original_sizes', 'proposals', 'sizes'\]"),
        ({"images": IMAGES, "sizes": 0}, False, r"lack \['original_sizes'\]. Received: \['images'"),
        (IMAGES[0], False, r"images must be \(B, H, W, 3\), RGB.*Received: shape=\(128, 160, 3\)"),
        (IMAGES[..., :1], False, r"Received: shape=\(2, 128, 160, 1\)"),
    ],
)
def test_what_is_no_batch_is_refused(inputs, proposals, error):
    with pytest.raises(ValueError, match=error):
        as_batch(inputs, proposals=proposals, **RESIZING)
