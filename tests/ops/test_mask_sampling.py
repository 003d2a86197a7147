import numpy as np
import tensorflow as tf

from keras_maskrcnn.ops import mask_sampling


def test_of_class_picks_the_mask_of_label_minus_one():
    logits = tf.range(3.0) * tf.ones([1, 4, 2, 2, 3])
    picked = mask_sampling.of_class(logits, tf.constant([[1, 2, 3, 0]]))
    np.testing.assert_array_equal(picked[0, :, 0, 0], [0, 1, 2, 0])


def test_a_sample_of_the_mask_s_own_box_and_grid_is_the_mask():
    mask = np.random.default_rng(0).random((1, 4, 4)).astype(np.float32)
    box = tf.constant([[2.0, 3.0, 10.0, 15.0]])
    sampled = mask_sampling.sample(mask, box, [0], box, 4, 4)
    np.testing.assert_allclose(sampled, mask, atol=1e-5)


def test_a_sample_outside_of_the_box_is_zero():
    mask, box = tf.ones([1, 4, 4]), tf.constant([[2.0, 3.0, 10.0, 15.0]])
    assert not np.any(mask_sampling.sample(mask, box, [0], box + 100, 4, 4))
