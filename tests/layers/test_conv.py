import numpy as np
import pytest
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers.conv import ConvNorm


def randomize_norm(layer):
    """Gives a batch norm random weights and statistics, so that a wrong fold shows."""
    rng = np.random.default_rng(0)
    for name, low, high in (
        ("gamma", 0.5, 2.0),
        ("beta", -1.0, 1.0),
        ("moving_mean", -1.0, 1.0),
        ("moving_variance", 0.1, 3.0),
    ):
        variable = getattr(layer.norm, name)
        variable.assign(rng.uniform(low, high, variable.shape))


@pytest.mark.parametrize("norm", ["", "frozen_batch", "batch", "group", "layer"])
@pytest.mark.parametrize("strides", [1, 2])
def test_conv_norm_fulfils_the_layer_contract(norm, strides):
    layer = ConvNorm(32, 3, strides, norm, relu=True, kernel_initializer="he_normal")
    check_layer(layer, tf.random.normal([2, 7, 10, 3]))


@pytest.mark.parametrize("channels", [1, 8, 15, 16])
def test_strided_1x1_convolution_of_few_channels_has_a_gradient(channels):
    """With a stride, TensorFlow would end this process on a CPU with AVX-512."""
    layer = ConvNorm(16, 1, 2)
    images = tf.random.normal([2, 64, 64, channels])
    with tf.GradientTape() as tape:
        outputs = layer(images)
    gradient = tape.gradient(outputs, layer.kernel.value)
    cells = tf.reduce_sum(images[:, ::2, ::2], axis=[0, 1, 2])
    np.testing.assert_allclose(gradient[0, 0], np.tile(cells[:, None], 16), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("side", [9, 10])
def test_strided_convolution_is_padded_alike_on_both_sides(kernel_size, side):
    layer = ConvNorm(4, kernel_size, 2)
    images = tf.random.normal([1, side, side, 3])
    pad = [kernel_size // 2] * 2
    padded = tf.pad(images, [[0, 0], pad, pad, [0, 0]])
    outputs = layer(images)
    expected = tf.nn.conv2d(padded, layer.kernel.value, 2, "VALID")
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_without_norm_there_is_a_bias_and_no_relu():
    layer = ConvNorm(2, 1)
    layer.build((None, None, None, 1))
    layer.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([10.0, 20.0])])
    np.testing.assert_array_equal(layer(tf.fill([1, 1, 1, 1], 30.0)), [[[[40.0, -10.0]]]])


def test_relu_cuts_below_zero():
    layer = ConvNorm(2, 1, relu=True)
    layer.build((None, None, None, 1))
    layer.set_weights([np.array([[[[1.0, -1.0]]]]), np.array([10.0, 20.0])])
    np.testing.assert_array_equal(layer(tf.fill([1, 1, 1, 1], 30.0)), [[[[40.0, 0.0]]]])


@pytest.mark.parametrize("training", [False, True])
def test_folded_frozen_batch_norm_equals_the_norm_itself(training):
    layer = ConvNorm(8, 3, 2, "frozen_batch")
    images = tf.random.normal([2, 8, 8, 3])
    layer(images)
    randomize_norm(layer)
    expected = layer.norm(layer._convolve(images, layer.kernel), training=False)
    np.testing.assert_allclose(layer(images, training=training), expected, atol=1e-5)


def test_batch_norm_is_folded_at_inference():
    layer = ConvNorm(8, 3, norm="batch")
    images = tf.random.normal([2, 8, 8, 3])
    layer(images)
    randomize_norm(layer)
    expected = layer.norm(layer._convolve(images, layer.kernel), training=False)
    np.testing.assert_allclose(layer(images, training=False), expected, atol=1e-5)


def test_batch_norm_uses_the_batch_in_training():
    layer = ConvNorm(8, 3, norm="batch")
    images = tf.random.normal([2, 8, 8, 3])
    layer(images)
    layer.norm.moving_mean.assign(tf.fill([8], 5.0))  # must not matter
    outputs = layer(images, training=True)
    np.testing.assert_allclose(tf.reduce_mean(outputs, axis=[0, 1, 2]), np.zeros(8), atol=1e-5)


def test_batch_norm_remembers_the_batch_in_training():
    layer = ConvNorm(8, 3, norm="batch")
    images = tf.random.normal([2, 8, 8, 3]) + 1.0
    layer(images)
    mean = tf.reduce_mean(layer._convolve(images, layer.kernel), axis=[0, 1, 2])
    layer(images, training=True)
    np.testing.assert_allclose(layer.norm.moving_mean, 0.1 * mean, atol=1e-5)


@pytest.mark.parametrize("how", ["argument", "attribute"])
def test_batch_norm_of_a_frozen_layer_keeps_its_statistics(how):
    layer = ConvNorm(8, 3, norm="batch", trainable=how != "argument")
    images = tf.random.normal([2, 8, 8, 3]) + 1.0
    layer(images)
    layer.trainable = False if how == "attribute" else layer.trainable
    np.testing.assert_array_equal(layer(images, training=True), layer(images, training=False))
    np.testing.assert_array_equal(layer.norm.moving_mean, np.zeros(8))


def test_gradient_flows_through_folded_norm_to_the_kernel():
    layer = ConvNorm(8, 3, norm="frozen_batch")
    images = tf.random.normal([2, 8, 8, 3])
    layer(images)
    randomize_norm(layer)
    with tf.GradientTape() as tape:
        folded = tf.reduce_sum(layer(images, training=True) ** 2)
    gradient = tape.gradient(folded, layer.kernel.value)
    with tf.GradientTape() as tape:
        outputs = layer.norm(layer._convolve(images, layer.kernel), training=False)
        plain = tf.reduce_sum(outputs**2)
    expected = tape.gradient(plain, layer.kernel.value)
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-2)


def test_frozen_batch_norm_trains_the_kernel_only():
    layer = ConvNorm(8, 3, norm="frozen_batch")
    layer.build((None, None, None, 3))
    assert [v.name for v in layer.trainable_variables] == ["kernel"]


def test_frozen_batch_norm_stays_frozen_when_a_model_is_thawed():
    layer = ConvNorm(8, 3, norm="frozen_batch")
    layer.build((None, None, None, 3))
    layer.trainable = False
    layer.trainable = True  # Keras sets the flag on every layer inside
    assert [v.name for v in layer.trainable_variables] == ["kernel"]


def test_group_norm_does_not_mix_images():
    layer = ConvNorm(32, 3, norm="group")
    images = tf.random.normal([2, 8, 8, 3])
    outputs = layer(images, training=True)
    np.testing.assert_allclose(outputs[1:], layer(images[1:], training=True), atol=1e-5)


@pytest.mark.parametrize("norm", ["frozen_batch", "batch", "group"])
def test_training_in_bfloat16_returns_bfloat16(norm):
    layer = ConvNorm(32, 3, norm=norm, dtype="mixed_bfloat16")
    assert layer(tf.zeros([1, 4, 4, 3]), training=True).dtype == tf.bfloat16


def test_unknown_norm_is_named_in_the_error():
    with pytest.raises(ValueError, match="norm='instance'"):
        ConvNorm(8, 3, norm="instance")


def test_kernel_initializer_is_not_shared_between_layers():
    first, second = ConvNorm(8, 3), ConvNorm(8, 3)
    for layer in (first, second):
        layer.build((None, None, None, 3))
    assert not np.array_equal(first.kernel, second.kernel)


def test_default_initializer_keeps_the_variance_through_relu():
    # He et al., fan-out: variance 2 / (3 * 3 * 256).
    layer = ConvNorm(256, 3)
    layer.build((None, None, None, 256))
    assert np.std(layer.kernel) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
