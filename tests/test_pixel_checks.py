"""Images of other bands and dtypes; those of RGB in 8 bits are in test_checks.py."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import checks
from keras_maskrcnn.pixel_checks import check_form

PIXELS = np.random.default_rng(0).uniform(0, 1, (2, 32, 48, 5)).astype(np.float32)
UINT8 = {"image_dtype": "uint8", "pixel_max": 255.0}
UINT16 = {"image_dtype": "uint16", "pixel_max": 4095.0}
FLOAT32 = {"image_dtype": "float32", "pixel_max": 1.0}


def look(images, channels=5, finite=True, **reading):
    checks.check_data(images, finite=finite, reading={"channels": channels, **reading})


@pytest.mark.parametrize(
    ("images", "reading"),
    [
        (np.uint8(PIXELS * 255), UINT8),
        (PIXELS * 255, UINT8),
        (np.uint16(PIXELS * 65535), UINT16),
        (np.int32(PIXELS * 4095), UINT16),
        (PIXELS * 4095, UINT16),
        (PIXELS, FLOAT32),
        (np.float64(PIXELS) * 1e5 - 300, FLOAT32),  # a range that nobody told
        ({"images": PIXELS * 500 - 900, "sizes": np.zeros((2, 2))}, FLOAT32),  # a batch
        ({"images": PIXELS * 255, "sizes": np.zeros((2, 2))}, UINT16),
    ],
)
def test_images_of_the_config_pass(images, reading):
    look(images, **reading)


@pytest.mark.parametrize(
    ("images", "reading", "line"),
    [
        (
            np.uint8(PIXELS * 255),
            UINT16,
            "images must be uint16 for this model: pixel_max=4095 is white, so 8 bits would be "
            "nearly black; multiply them by 16.0588. Received: dtype=uint8.",
        ),
        (
            np.uint8(PIXELS * 255),
            FLOAT32,
            "images must be float32 for this model: pixel_max=1 is white, so multiply them by "
            "pixel_max / their white. Received: dtype=uint8.",
        ),
        (PIXELS > 0.5, UINT16, "images must be uint16. Received: dtype=bool."),
        (PIXELS, UINT16, "images must be in 0..65535, not in 0..1: multiply them by 65535. Rec"),
        (np.int32(PIXELS * 7e4), UINT16, "images must be in 0..65535. Received: dtype=int32, min"),
        (PIXELS * np.nan, FLOAT32, "pixels must be finite. Received: dtype=float32, minimum=nan"),
        (PIXELS, UINT8, "images must be in 0..255, not in 0..1: multiply them by 255. Received"),
        (
            PIXELS[..., :4],
            FLOAT32,
            "images must be (B, H, W, 5) with in_channels=5; for such images make a model with "
            "in_channels=4. Received: shape=(2, 32, 48, 4).",
        ),
        (PIXELS[0], FLOAT32, "with in_channels=5; for one image use images[None], for a tf.data."),
        (list(PIXELS), FLOAT32, "images must be one array (B, H, W, 5): np.stack(...) joins"),
    ],
)
def test_other_images_are_refused_in_one_line(images, reading, line):
    with pytest.raises(ValueError) as caught:
        look(images, **reading)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_gray_images_need_the_axis_of_their_band():
    with pytest.raises(ValueError, match=r"without this axis use images\[\.\.\., None\]. Received"):
        look(PIXELS[..., 0], channels=1, **FLOAT32)


def test_nan_passes_if_a_sentinel_looks_for_it():
    look(PIXELS * np.nan, finite=False, **FLOAT32)


def test_a_data_set_is_checked_before_the_first_step():
    batches = tf.data.Dataset.from_tensors({"images": PIXELS, "sizes": np.zeros((2, 2), np.int32)})
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\), RGB; for such images .*in_channels=5"):
        checks.check_data(batches)


def test_an_unknown_rank_passes_until_there_are_pixels():
    check_form(tf.TensorSpec(None, tf.uint8), channels=4)
