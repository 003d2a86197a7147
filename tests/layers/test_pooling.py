import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.roi_align import roi_align
from keras_maskrcnn.ops.portable import portable

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sampling_ratio": 0},
        {"aligned": False},
        {"aligned": False, "sampling_ratio": 0},
        {"pooling": "max"},
        {"sampling_ratio": 1, "corners": True},
        {"bounded": True},
    ],
    ids=str,
)
def test_portable_roi_align_equals_the_ordinary(arguments):
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    corner = tf.random.uniform([2, 20, 2], maxval=100.0)
    boxes = tf.concat([corner, corner + tf.random.uniform([2, 20, 2], maxval=28.0)], axis=-1)
    levels = tf.constant([[0, 1, 2, 3] * 5] * 2)
    arguments = {"output_size": 5, "strides": STRIDES, **arguments}
    expected = roi_align(features, boxes, levels, **arguments)
    with portable():
        found = roi_align(features, boxes, levels, **arguments)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_portable_graph_stores_no_zeros():
    # Each RoI layer had its result as a constant to begin a sum with: 70 MB in a file.
    boxes, levels = tf.zeros([1, 50, 4]), tf.zeros([1, 50], tf.int32)

    @tf.function
    def pool(features):
        with portable():
            return roi_align([features], boxes, levels, output_size=7, strides=(4,))

    graph = pool.get_concrete_function(tf.TensorSpec([1, 16, 16, 8])).graph
    constants = [x for x in graph.get_operations() if x.type in ("Const", "Fill", "ZerosLike")]
    assert constants and all(x.outputs[0].shape.rank < 4 for x in constants)
