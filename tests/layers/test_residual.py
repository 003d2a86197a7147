import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.residual import LayerScale, StochasticDepth


def test_branches_are_left_out_in_training_only():
    layer = StochasticDepth(0.25, seed=1)
    x = np.ones((4000, 1, 1, 2), np.float32)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)
    found = layer(x, training=True).numpy()
    np.testing.assert_allclose(np.unique(found), [0, 1 / 0.75])
    assert (found[..., 0] == found[..., 1]).all()  # a branch is left out as a whole
    assert (found == 0).mean() == pytest.approx(0.25, abs=0.03)
    assert (layer(x, training=True).numpy() != found).any()  # each step draws anew


def test_a_rate_of_0_keeps_all_and_has_no_state():
    layer = StochasticDepth(0.0)
    x = np.ones((3, 1, 1, 1), np.float32)
    assert not layer.variables
    np.testing.assert_array_equal(layer(x, training=True), x)


def test_it_is_stored_with_its_rate_and_computes_in_16_bits():
    layer = StochasticDepth.from_config(StochasticDepth(0.5, seed=3).get_config())
    assert (layer.rate, layer.seed) == (0.5, 3)
    half = StochasticDepth(0.5, dtype="mixed_float16")
    assert half(np.ones((2, 1), np.float32), training=True).dtype == tf.float16


def test_two_replicas_draw_what_one_draws_for_the_whole_batch(two_devices):
    x = np.ones((8, 1), np.float32)
    one = StochasticDepth(0.5, seed=5)
    expected = [one(x, training=True).numpy() for _ in range(2)]
    with two_devices.scope():
        layer = StochasticDepth(0.5, seed=5)

    @tf.function
    def step():
        return two_devices.run(lambda: layer(tf.ones((4, 1)), training=True))

    for whole in expected:
        parts = two_devices.experimental_local_results(step())
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert 0 < np.mean(expected) < 2  # both outcomes occur


def test_layer_scale_multiplies_channels():
    layer = LayerScale(0.5, 3)
    x = np.ones((1, 2, 2, 3), np.float32)
    np.testing.assert_array_equal(layer(x), x / 2)
    layer.gamma.assign([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(layer(x)[0, 0, 0], [1, 2, 3])
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    assert (again.init_values, again.projection_dim) == (0.5, 3)
