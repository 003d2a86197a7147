import numpy as np
import pytest
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers import grouped_conv
from keras_maskrcnn.layers.conv import ConvNorm
from keras_maskrcnn.layers.grouped_conv import merge_groups


@pytest.mark.parametrize("arguments", [{"groups": 2}, {"dilation": 2}])
def test_grouped_and_dilated_layers_fulfil_the_layer_contract(arguments):
    check_layer(ConvNorm(8, 3, **arguments), tf.random.normal([2, 7, 10, 4]))


@pytest.mark.parametrize("strides", [1, 2])
def test_groups_are_convolutions_of_their_own_side_by_side(strides):
    layer = ConvNorm(6, 3, strides, groups=2)
    images = tf.random.normal([2, 7, 8, 4])
    outputs = layer(images)
    assert layer.kernel.shape == (3, 3, 2, 6)
    for half in (0, 1):
        alone = ConvNorm(3, 3, strides)
        alone.build((None, None, None, 2))
        alone.kernel.assign(layer.kernel[..., 3 * half : 3 * half + 3])
        expected = alone(images[..., 2 * half : 2 * half + 2])
        np.testing.assert_allclose(outputs[..., 3 * half : 3 * half + 3], expected, atol=1e-5)


def test_the_gradient_of_groups_is_that_of_the_full_kernel_with_zeros():
    layer = ConvNorm(6, 3, groups=2)
    images = tf.random.normal([2, 7, 8, 4])
    weights = tf.random.normal([2, 7, 8, 6])
    layer.build(images.shape)
    kernel = layer.kernel.value
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(weights * layer(images))
    gradients = tape.gradient(total, [images, kernel])
    halves = tf.split(kernel, 2, axis=3)
    zeros = tf.zeros_like(halves[0])
    full = tf.concat(
        [tf.concat([halves[0], zeros], axis=2), tf.concat([zeros, halves[1]], axis=2)], axis=3
    )
    with tf.GradientTape() as tape:
        tape.watch([images, full])
        total = tf.reduce_sum(weights * tf.nn.conv2d(images, full, 1, "SAME"))
    expected, full = tape.gradient(total, [images, full])
    np.testing.assert_allclose(gradients[0], expected, atol=1e-4)
    own = tf.concat([full[:, :, :2, :3], full[:, :, 2:, 3:]], axis=3)
    np.testing.assert_allclose(gradients[1], own, atol=1e-4)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize(
    # A block has at least 16 channels: four groups of 4 give 16. With too few groups, all are
    # merged. Groups with more channels stay as they are. Two of three groups of 12 would be enough,
    # but 2 does not divide 3.
    ("groups", "depth", "blocks"),
    [(32, 4, 8), (2, 2, 1), (2, 32, 2), (3, 12, 3)],
)
def test_merged_groups_are_the_groups(monkeypatch, groups, depth, blocks, strides):
    layer = ConvNorm(5 * groups, 3, strides, groups=groups)
    images = tf.random.normal([2, 7, 8, depth * groups])
    outputs = []
    for native in (True, False):
        monkeypatch.setattr(grouped_conv, "has_every_gradient", lambda native=native: native)
        outputs.append(layer(images))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
    assert len(merge_groups(layer.kernel, groups)) == blocks


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_a_dilated_kernel_has_zeros_between_its_taps(monkeypatch, native, groups):
    monkeypatch.setattr(grouped_conv, "has_every_gradient", lambda: native)
    layer = ConvNorm(6, 3, dilation=2, groups=groups)
    images = tf.random.normal([1, 9, 10, 3])
    outputs = layer(images)
    wide = np.zeros((5, 5, 3 // groups, 6), np.float32)
    wide[::2, ::2] = layer.kernel
    np.testing.assert_allclose(outputs, tf.nn.conv2d(images, wide, 1, "SAME"), atol=1e-5)


def test_the_gradient_of_a_dilated_kernel_is_that_of_the_wide_one():
    layer = ConvNorm(4, 3, dilation=2)
    images, upstream = tf.random.normal([2, 9, 10, 3]), tf.random.normal([2, 9, 10, 4])
    layer.build(images.shape)
    wide = np.zeros((5, 5, 3, 4), np.float32)
    wide[::2, ::2] = layer.kernel
    wide, found = tf.constant(wide), []
    for kernel, function in (
        (layer.kernel.value, layer),
        (wide, lambda x: tf.nn.conv2d(x, wide, 1, "SAME")),
    ):
        with tf.GradientTape() as tape:
            tape.watch([images, kernel])
            outputs = function(images)
        found.append(tape.gradient(outputs, [images, kernel], upstream))
    (images_gradient, kernel_gradient), (images_expected, wide_gradient) = found
    np.testing.assert_allclose(images_gradient, images_expected, atol=1e-4)
    np.testing.assert_allclose(kernel_gradient, wide_gradient[::2, ::2], atol=1e-4)
