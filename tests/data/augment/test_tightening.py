"""data/augment/tightening.py."""

import numpy as np
import tensorflow as tf
from drawn_examples import SIDE, assert_equal, assert_extents, make_example

from keras_maskrcnn.data import augment


def test_tighten_moves_a_box_to_its_mask():
    mask = np.zeros((2, SIDE, SIDE), np.uint8)
    mask[0, 7:14, 14:] = 255
    example = make_example(0) | {
        "boxes": tf.constant([[0.0, 0, 28, 28], [1, 1, 5, 5]]),
        "masks": tf.constant(mask),
        "labels": tf.constant([1, 2]),
    }
    found = augment.tighten(example)
    np.testing.assert_array_equal(found["labels"], [1])
    np.testing.assert_allclose(found["boxes"], [[14, 7, 28, 14]])
    assert_extents(found)
    assert_equal(augment.tighten(make_example(0)), make_example(0))
