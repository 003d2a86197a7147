"""Python functions that a graph calls live exactly as long as the graph."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.keras_private import registered_gradients
from keras_maskrcnn.layers.roi_align import roi_align
from keras_maskrcnn.ops.python import gradients_of_graph, numpy_function


class Adder:
    """Stands for a model or data set whose method a graph calls."""

    def add(self, x):
        return x + 1


def test_a_function_stays_with_its_data_set_and_with_an_iterator():
    adder = Adder()
    alive = weakref.ref(adder)
    data = tf.data.Dataset.range(9).map(lambda i: numpy_function(adder.add, [i], tf.int64))
    adder = None
    gc.collect()
    iterator = iter(data.batch(2))
    del data
    gc.collect()
    assert next(iterator).numpy().tolist() == [1, 2]
    assert alive() is not None
    del iterator
    gc.collect()
    assert alive() is None


def test_a_function_stays_with_what_a_strategy_made_of_its_data_set(two_devices):
    adder = Adder()
    data = tf.data.Dataset.range(8).map(lambda i: numpy_function(adder.add, [i], tf.int64))
    iterator = iter(two_devices.experimental_distribute_dataset(data.batch(4)))
    adder = data = None
    gc.collect()
    values = two_devices.experimental_local_results(next(iterator))
    assert [value.numpy().tolist() for value in values] == [[1, 2], [3, 4]]


def test_a_function_in_a_branch_stays_with_the_function_around_it():
    adder = Adder()
    alive = weakref.ref(adder)

    @tf.function
    def maybe(x):
        return tf.cond(x > 0, lambda: numpy_function(adder.add, [x], tf.float32), lambda: x)

    assert maybe(tf.constant(1.0)) == 2.0
    adder = None
    gc.collect()
    assert maybe(tf.constant(2.0)) == 3.0
    maybe = None
    gc.collect()
    assert alive() is None


def test_an_eager_call_keeps_nothing():
    adder = Adder()
    alive = weakref.ref(adder)
    assert numpy_function(adder.add, [tf.constant(1)], tf.int32) == 2
    adder = None
    gc.collect()
    assert alive() is None


def custom_gradients():
    registered = registered_gradients()
    return {name for name in registered if name.startswith("CustomGradient-")}


def test_a_gradient_is_registered_as_long_as_its_graph_lives():
    """A traced function that is called under a tape looks up its gradient only then."""
    before = custom_gradients()
    boxes = tf.constant([[[0.0, 0.0, 4.0, 4.0]]])

    @tf.function
    def pool(features):
        levels = tf.zeros([1, 1], tf.int32)
        return roi_align([features], boxes, levels, output_size=1, strides=[1])

    features = tf.reshape(tf.range(16, dtype=tf.float32), [1, 4, 4, 1])
    pool(features)
    gc.collect()
    assert len(custom_gradients() - before) == 1
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = pool(features)
    assert pooled.numpy().ravel() == 7.5
    # 2 x 2 points, each between four cells. Each cell gets a quarter of a quarter.
    np.testing.assert_allclose(tape.gradient(pooled, features)[0, ..., 0], np.full((4, 4), 1 / 16))
    del pool, tape, pooled
    gc.collect()
    assert custom_gradients() == before


@pytest.mark.parametrize("nested", [False, True])
def test_other_tensors_are_left_alone(nested):
    @tf.function
    def same(x):
        return gradients_of_graph([x, tf.identity(x)] if nested else tf.identity_n([x])[0])

    np.testing.assert_array_equal(tf.nest.flatten(same(tf.constant(1.0)))[0], 1.0)
