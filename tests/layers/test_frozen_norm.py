import keras
import numpy as np

from keras_maskrcnn.layers.conv import BatchNorm
from keras_maskrcnn.layers.frozen_norm import FrozenBatchNorm


def test_it_is_batch_norm_at_inference_also_in_training():
    x = np.random.default_rng(0).normal(2, 3, (2, 4, 4, 5)).astype(np.float32)
    frozen, other = FrozenBatchNorm(epsilon=1e-4), BatchNorm(epsilon=1e-4)
    other.build(x.shape)
    other.set_weights([np.full(5, value, np.float32) for value in (2.0, 0.5, 1.0, 4.0)])
    frozen.build(x.shape)
    frozen.set_weights(other.get_weights())
    expected = other(x, training=False)
    np.testing.assert_array_equal(frozen(x, training=True), expected)
    np.testing.assert_array_equal(frozen.moving_mean, np.ones(5))
    np.testing.assert_allclose(expected, (x - 1) / np.sqrt(4 + 1e-4) * 2 + 0.5, rtol=1e-5)


def test_it_stays_frozen_when_its_network_is_unfrozen():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 1, name="conv")(inputs)
    network = keras.Model(inputs, FrozenBatchNorm(name="norm", trainable=True)(x))
    network.trainable = True
    again = keras.Model.from_config(network.get_config())
    for model in (network, again):
        model.get_layer("norm").trainable = True
        assert [v.path for v in model.trainable_weights] == ["conv/kernel", "conv/bias"]
        assert not model.get_layer("norm").trainable
