"""data/augment/color.py."""

import numpy as np
import pytest
import tensorflow as tf
from drawn_examples import SEED, assert_equal, make_example

from keras_maskrcnn.data import augment


def test_colors_without_strength_are_the_identity():
    example = make_example(0)
    assert_equal(augment.color_jitter(example, SEED), example)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colors_change_the_image_alone(name):
    example = make_example(0)
    found = augment.color_jitter(example, SEED, **{name: 0.4})
    assert not np.array_equal(found.pop("image"), example.pop("image"))
    assert_equal(found, example)


def test_each_color_operation_keeps_what_it_should():
    flat = {"image": tf.constant([[[90, 90, 90], [30, 30, 30]]], tf.uint8)}  # gray, mean 60
    for i in range(5):
        seed = tf.constant([5, i])
        bright = augment.color_jitter(flat, seed, brightness=0.5)["image"].numpy().astype(int)
        np.testing.assert_allclose(bright[0, 0], 3 * bright[0, 1], atol=2)
        contrast = augment.color_jitter(flat, seed, contrast=0.5)["image"].numpy().astype(int)
        assert contrast.mean() == pytest.approx(60, abs=1)
        assert_equal(augment.color_jitter(flat, seed, saturation=0.5), flat)
        assert_equal(augment.color_jitter(flat, seed, hue=0.5), flat)
        one = {"image": tf.constant([[[200, 50, 50]]], tf.uint8)}
        turned = augment.color_jitter(one, seed, hue=0.5)["image"].numpy()[0, 0]
        assert (turned.min(), turned.max()) == (50, 200)  # only the hue


STRONG = {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.3}


def test_bands_beyond_the_third_are_no_colors():
    rgb = make_example(0)["image"]
    more = tf.concat([rgb, rgb[..., :2]], axis=-1)
    found = augment.color_jitter({"image": more}, SEED, **STRONG)["image"]
    np.testing.assert_array_equal(found[..., 3:], rgb[..., :2])
    alone = augment.color_jitter({"image": rgb}, SEED, **STRONG)["image"]
    np.testing.assert_array_equal(found[..., :3], alone)
    assert not np.array_equal(alone, rgb)


@pytest.mark.parametrize("bands", [1, 2])
def test_gray_has_brightness_and_contrast_only(bands):
    image = {"image": make_example(0)["image"][..., :bands]}
    colors = {name: STRONG[name] for name in ("saturation", "hue")}
    assert_equal(augment.color_jitter(image, SEED, **colors), image)
    for name in ("brightness", "contrast"):
        found = augment.color_jitter(image, SEED, **{name: 0.5})["image"]
        assert found.shape == image["image"].shape
        assert (np.asarray(found) != np.asarray(image["image"])).any(axis=(0, 1)).all()


def test_gray_changes_as_its_copy_in_three_bands_does():
    gray = make_example(0)["image"][..., :1]
    copies = tf.repeat(gray, 3, axis=-1)
    strengths = {"brightness": 0.5, "contrast": 0.5}
    one, three = (augment.color_jitter({"image": i}, SEED, **strengths) for i in (gray, copies))
    difference = np.asarray(one["image"], int) - np.asarray(three["image"], int)[..., :1]
    assert abs(difference).max() <= 1  # the weights of the colors have a rounded sum


def test_values_beyond_white_and_black_may_stay_there():
    image = tf.constant([[[-40.0, 300.0, 20.0], [0.0, 255.0, 128.0]]])
    for i in range(8):
        seed = tf.constant([3, i])
        found = augment.color_jitter({"image": image}, seed, brightness=0.9)["image"].numpy()
        assert found.min() >= -40 and found.max() <= 300
        assert found[0, 1].min() >= 0 and found[0, 1].max() <= 255
        assert found[0, 0, 0] < 0  # not clipped to black
