import keras
import numpy as np
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers.upsample import Deconv, interleave


def test_deconv_and_interleave_are_a_transposed_convolution():
    theirs, ours = keras.layers.Conv2DTranspose(6, 2, 2, activation="relu"), Deconv(6)
    cells = keras.Input((3, 16, 6))
    place = keras.Model(cells, interleave(cells))
    rois, upstream = tf.random.normal([5, 3, 4, 7]), tf.random.normal([5, 6, 8, 6])
    found = []
    for layer, finish in ((theirs, tf.identity), (ours, place)):
        layer.build(rois.shape)
        layer.set_weights([theirs.get_weights()[0], tf.range(6.0)])
        with tf.GradientTape() as tape:
            tape.watch(rois)
            outputs = finish(layer(rois))
        sources = [rois, layer.kernel.value, layer.bias.value]
        found.append([outputs, *tape.gradient(outputs, sources, upstream)])
    for expected, value in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-4)


def test_deconv_fulfils_the_layer_contract():
    check_layer(Deconv(6), tf.random.normal([5, 3, 4, 7]))
