import keras
import numpy as np
import pytest
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers.attention import Attend, Positions, WindowedAttention


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def by_definition(layer, x):
    """Attention over a map (H, W, K), one query at a time, with all relative positions."""
    height, width, channels = x.shape
    heads, size = layer.num_heads, channels // layer.num_heads
    kernel, bias = (np.asarray(v, np.float64) for v in layer.qkv.weights)
    qkv = (x @ kernel + bias).reshape(height, width, 3, heads, size)
    by_row, by_column = np.asarray(layer.rel_pos_h), np.asarray(layer.rel_pos_w)
    center = (layer.window or layer.side) - 1
    found = np.zeros((height, width, heads, size))
    for y, x_, head in np.ndindex(height, width, heads):
        query = qkv[y, x_, 0, head]
        logits = qkv[:, :, 1, head] @ query * size**-0.5
        for row, column in np.ndindex(height, width):
            logits[row, column] += query @ by_row[y - row + center]
            logits[row, column] += query @ by_column[x_ - column + center]
        weights = softmax(logits.ravel()).reshape(height, width, 1)
        found[y, x_, head] = (weights * qkv[:, :, 2, head]).sum(axis=(0, 1))
    kernel, bias = (np.asarray(v, np.float64) for v in layer.projection.weights)
    return found.reshape(height, width, channels) @ kernel + bias


def randomized(layer, shape):
    rng = np.random.default_rng(0)
    layer.build(shape)
    for variable in layer.weights:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return layer


def test_attention_over_the_map_is_the_definition():
    layer = randomized(WindowedAttention(2, window=0, side=6), (None, None, None, 8))
    x = np.random.default_rng(1).normal(size=(2, 3, 5, 8)).astype(np.float32)
    found = layer(x)
    for image in (0, 1):
        np.testing.assert_allclose(found[image], by_definition(layer, x[image]), atol=1e-5)


def test_windows_are_padded_with_zeros_and_see_nothing_else():
    layer = randomized(WindowedAttention(2, window=3, side=9), (None, None, None, 8))
    x = np.random.default_rng(1).normal(size=(1, 4, 5, 8)).astype(np.float32)
    padded = np.pad(x[0], [(0, 2), (0, 1), (0, 0)])
    expected = np.concatenate(
        [
            np.concatenate([by_definition(layer, padded[i : i + 3, j : j + 3]) for j in (0, 3)], 1)
            for i in (0, 3)
        ]
    )
    np.testing.assert_allclose(layer(x)[0], expected[:4, :5], atol=1e-5)


def test_attend_is_that_of_keras():
    theirs = keras.layers.MultiHeadAttention(2, 4, use_bias=False)
    x = tf.random.normal([2, 3, 4, 8])
    y = tf.random.normal([2, 2, 2, 8])
    flat = [tf.reshape(v, [2, -1, 8]) for v in (x, y)]
    expected = theirs(*flat)
    query, key, value, output = (np.asarray(v).reshape(8, 8) for v in theirs.weights)
    found = Attend(2)([x @ query, y @ key, y @ value]) @ output
    np.testing.assert_allclose(tf.reshape(found, expected.shape), expected, atol=1e-5)


def test_positions_of_a_smaller_map_are_the_first_ones():
    layer = Positions(4)
    found = layer(tf.zeros([2, 3, 2, 5]))
    np.testing.assert_array_equal(found, tf.tile(layer.table.value[:, :3, :2], [2, 1, 1, 1]))
    with pytest.raises(tf.errors.InvalidArgumentError):
        layer(tf.zeros([1, 5, 4, 5]))


@pytest.mark.parametrize(
    "layer", [Positions(6), WindowedAttention(2, 3, 6), WindowedAttention(2, 0, 6)]
)
def test_layers_fulfil_the_layer_contract(layer):
    check_layer(layer, tf.random.normal([2, 5, 6, 8]))


def test_maps_of_unknown_size_keep_their_shape():
    images = keras.Input((None, None, 8))
    x = WindowedAttention(2, 3, 6)(images)
    assert Attend(2)([x, x, x]).shape == (None, None, None, 8)
    model = keras.Model(images, x)
    run = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 8])])
    value = tf.random.normal([2, 4, 5, 8])
    np.testing.assert_allclose(run(value), model(value), atol=1e-5)
