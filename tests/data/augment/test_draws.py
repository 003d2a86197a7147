"""data/augment/draws.py."""

from functools import partial

import tensorflow as tf
from drawn_examples import (
    SEED,
    assert_equal,
    make_example,
)

from keras_maskrcnn.data import augment


def test_random_sides_are_those_given():
    found = {int(augment.random_side(tf.constant([0, i]), (640, 672, 800))) for i in range(30)}
    assert found == {640, 672, 800}


def test_augmentations_are_applied_in_order_with_seeds_of_their_own():
    example = make_example(0)
    flips = [partial(augment.random_flip, horizontal=1.0), lambda e, _: augment.rotate90(e)]
    expected = augment.rotate90(augment.flip_horizontal(example))
    assert_equal(augment.apply(example, SEED, flips), expected)
    seeds = []
    augment.apply(example, SEED, [lambda e, seed: seeds.append(tuple(seed.numpy())) or e] * 3)
    assert len(set(seeds)) == 3
