import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.roi_align import roi_align


@pytest.mark.parametrize("channels", [64, 7])
def test_roi_align_gradient_is_the_adjoint(channels):
    # <pool(x), y> = <x, gradient(y)>. Many boxes lie on one spot because TensorFlow's gradient of
    # CropAndResize loses some of them there when several threads run.
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (1, 512, 2))
    boxes = tf.constant(
        np.concatenate([corner, corner + rng.uniform(1, 34, (1, 512, 2))], -1), tf.float32
    )
    features = [tf.random.normal([1, 64 // 2**i, 64 // 2**i, channels]) for i in range(2)]
    upstream = tf.random.normal([1, 512, 7, 7, channels])
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = roi_align(features, boxes, tf.constant([[0, 1] * 256]), output_size=7, strides=[1, 2])
    gradients = tape.gradient(out, features, upstream)

    def inner(a, b):
        return np.sum(np.float64(a) * np.float64(b))

    expected = inner(out, upstream)
    np.testing.assert_allclose(sum(map(inner, features, gradients)), expected, rtol=1e-4)
    assert abs(expected) > 10
