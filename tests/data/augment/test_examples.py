"""data/augment/examples.py."""

import numpy as np
import tensorflow as tf
from drawn_examples import SEED, assert_equal, make_example

from keras_maskrcnn.data import augment


def test_at_most_takes_random_instances_in_order():
    example = make_example(0, count=9)
    found = [augment.at_most(example, 3, tf.constant([0, i]))["labels"].numpy() for i in range(9)]
    assert all(len(labels) == 3 and (np.diff(labels) > 0).all() for labels in found)
    assert len({labels.tobytes() for labels in found}) > 1
    assert_equal(augment.at_most(example, 99, SEED), example)
