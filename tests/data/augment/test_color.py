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
