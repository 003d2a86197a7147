import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.nms import combined_non_max_suppression
from keras_maskrcnn.ops.portable import portable


def suppress(boxes, scores, *arguments):
    """Returns the results of the portable and of TensorFlow's NMS."""
    arguments = tf.constant(boxes, tf.float32), tf.constant(scores, tf.float32), *arguments
    expected = combined_non_max_suppression(*arguments)
    with portable():
        return combined_non_max_suppression(*arguments), expected


@pytest.mark.parametrize("count", [5, 40, 200])  # fewer and more than NMS leaves
@pytest.mark.parametrize(("iou", "threshold"), [(0.5, 0.3), (0.0, 0.0), (1.0, 0.9)])
def test_portable_nms_equals_combined_nms(count, iou, threshold):
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (2, 30, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (2, 30, 3, 2))], axis=-1)
    found, expected = suppress(boxes, rng.uniform(0, 1, (2, 30, 3)), 30, count, iou, threshold)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


def test_portable_nms_of_nothing_is_empty():
    found, expected = suppress(np.zeros((1, 4, 2, 4)), np.zeros((1, 4, 2)), 4, 3, 0.5, 0.05)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert found.valid_detections.numpy().tolist() == [0]
