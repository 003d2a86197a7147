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


def random_boxes():
    """Returns boxes (2, 30, 3, 4) and scores (2, 30, 3) of two images."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (2, 30, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (2, 30, 3, 2))], axis=-1)
    return boxes, rng.uniform(0, 1, (2, 30, 3))


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("count", [5, 40, 200])  # fewer and more than NMS leaves
@pytest.mark.parametrize(("iou", "threshold"), [(0.5, 0.3), (0.0, 0.0), (1.0, 0.9)])
def test_portable_nms_equals_that_of_tensorflow(count, iou, threshold, across):
    found, expected = suppress(*random_boxes(), 30, count, iou, threshold, across)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


def test_nms_across_classes_keeps_what_one_nms_of_all_boxes_keeps():
    boxes, scores = random_boxes()
    found, _ = suppress(boxes, scores, 30, 90, 0.5, 0.3, True)
    within, _ = suppress(boxes, scores, 30, 90, 0.5, 0.3)
    every = np.repeat(boxes.reshape(2, 90, 1, 4), 2, axis=2)  # as one class, beside an empty one
    alone = scores.reshape(2, 90, 1) * [1.0, 0.0]
    _, expected = suppress(every, alone, 90, 90, 0.5, 0.3)
    np.testing.assert_array_equal(found.nmsed_boxes, expected.nmsed_boxes)
    np.testing.assert_array_equal(found.nmsed_scores, expected.nmsed_scores)
    assert 0 < found.valid_detections[0] < within.valid_detections[0] < 90


def test_nms_across_classes_keeps_the_class_of_each_box():
    boxes, scores = random_boxes()
    _, found = suppress(boxes, scores, 30, 40, 0.5, 0.3, True)
    for image in range(2):
        for i in range(int(found.valid_detections[image])):
            score, label = found.nmsed_scores[image, i].numpy(), int(found.nmsed_classes[image, i])
            (roi,) = np.flatnonzero(scores[image, :, label].astype(np.float32) == score)
            np.testing.assert_allclose(found.nmsed_boxes[image, i], boxes[image, roi, label])
    assert len(np.unique(found.nmsed_classes)) == 3


@pytest.mark.parametrize("across", [False, True])
def test_nms_of_nothing_is_empty(across):
    found, expected = suppress(np.zeros((1, 4, 2, 4)), np.zeros((1, 4, 2)), 4, 3, 0.5, 0.05, across)
    for name, value in expected._asdict().items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert found.valid_detections.numpy().tolist() == [0]
