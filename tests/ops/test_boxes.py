import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops import boxes as box_ops


def test_area_is_width_times_height():
    assert float(box_ops.area(tf.constant([1.0, 2.0, 4.0, 7.0]))) == 15.0


def test_area_of_reversed_box_is_zero():
    # Both sides are negative: without clipping them at 0, their product would be positive.
    assert float(box_ops.area(tf.constant([4.0, 7.0, 1.0, 2.0]))) == 0.0


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ([0, 0, 4, 4], 1.0),
        ([2, 0, 6, 4], 1 / 3),  # 8 of 24
        ([4, 0, 8, 4], 0.0),  # a common edge
        ([1, 1, 3, 3], 1 / 4),  # inside
        ([9, 9, 9, 9], 0.0),
    ],
)
def test_iou_with_a_square_of_side_4(other, expected):
    result = box_ops.iou(tf.constant([[0.0, 0, 4, 4]]), tf.constant([other], tf.float32))
    np.testing.assert_allclose(result, [[expected]], rtol=1e-6)


def test_iou_of_two_empty_boxes_is_zero():
    empty = tf.zeros([1, 4])
    np.testing.assert_array_equal(box_ops.iou(empty, empty), [[0.0]])


def test_iou_broadcasts_leading_dimensions():
    a, b = tf.random.uniform([1, 5, 4]) * 9, tf.random.uniform([2, 3, 4]) * 9
    both = box_ops.iou(a, b)
    assert both.shape == (2, 5, 3)
    np.testing.assert_array_equal(both[1], box_ops.iou(a[0], b[1]))


def test_iou_equals_torchvision(golden):
    data = golden("boxes")
    result = box_ops.iou(data["match_truth"], data["match_candidates"])
    np.testing.assert_allclose(result, data["match_iou"], atol=1e-6)


def test_clip_moves_corners_onto_the_border():
    boxes = tf.constant([[[-5.0, 2, 30, 40]], [[-5.0, 2, 30, 40]]])
    clipped = box_ops.clip(boxes, tf.constant([[20, 10], [50, 25]]))  # height, width
    np.testing.assert_array_equal(clipped, [[[0, 2, 10, 20]], [[0, 2, 25, 40]]])


def test_clip_takes_boxes_of_every_class():
    boxes = tf.constant([-1.0, -1, 9, 9]) * tf.ones([2, 3, 5, 1])
    clipped = box_ops.clip(boxes, tf.constant([[4, 6], [4, 6]]))
    np.testing.assert_array_equal(clipped, np.broadcast_to([0, 0, 6, 4], (2, 3, 5, 4)))


def test_clip_equals_torchvision(golden):
    data = golden("boxes")
    boxes = tf.constant(data["to_clip"][None])
    clipped = box_ops.clip(boxes, data["clip_size_hw"][None])[0]
    np.testing.assert_array_equal(clipped, data["clipped"])


def test_encode_by_hand():
    # The center moves by (2, 1), with sides of (4, 2). Sides become 2 and 4 times as large.
    anchor, box = tf.constant([0.0, 0, 4, 2]), tf.constant([0.0, -2, 8, 6])
    expected = [0.5, 0.5, np.log(2), np.log(4)]
    np.testing.assert_allclose(box_ops.encode(box, anchor), expected, rtol=1e-6)


def test_encode_multiplies_by_weights():
    anchor, box = tf.constant([0.0, 0, 4, 2]), tf.constant([0.0, -2, 8, 6])
    expected = [5, 5, 5 * np.log(2), 5 * np.log(4)]
    np.testing.assert_allclose(box_ops.encode(box, anchor, (10, 10, 5, 5)), expected, rtol=1e-6)


def test_encode_of_padding_is_finite():
    deltas = box_ops.encode(tf.zeros([1, 4]), tf.constant([[0.0, 0, 4, 2]]))
    assert np.isfinite(deltas).all()
    assert np.isfinite(box_ops.encode(tf.zeros([1, 4]), tf.zeros([1, 4]))).all()


@pytest.mark.parametrize("kind", ["rpn", "head"])
def test_encode_equals_torchvision(golden, kind):
    data = golden("boxes")
    deltas = box_ops.encode(data["truth"], data["anchors"], data[f"weights_{kind}"])
    np.testing.assert_allclose(deltas, data[f"encoded_{kind}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["rpn", "head"])
def test_decode_equals_torchvision(golden, kind):
    data = golden("boxes")
    boxes = box_ops.decode(data["deltas"], data["anchors"], data[f"weights_{kind}"])
    np.testing.assert_allclose(boxes, data[f"decoded_{kind}"], rtol=1e-5, atol=1e-3)


def test_decode_for_every_class_equals_torchvision(golden):
    data = golden("boxes")
    deltas = data["class_deltas"].reshape(40, 3, 4)
    boxes = box_ops.decode(deltas, data["anchors"][:, None], data["weights_head"])
    np.testing.assert_allclose(boxes, data["class_decoded_head"], rtol=1e-5, atol=1e-3)


def test_decode_is_the_inverse_of_encode(golden):
    data = golden("boxes")
    deltas = box_ops.encode(data["truth"], data["anchors"], (10, 10, 5, 5))
    boxes = box_ops.decode(deltas, data["anchors"], (10, 10, 5, 5))
    np.testing.assert_allclose(boxes, data["truth"], atol=1e-3)


def test_decode_grows_a_side_at_most_by_1000_over_16():
    box = box_ops.decode(tf.constant([0.0, 0, 100, 100]), tf.constant([0.0, 0, 16, 32]))
    np.testing.assert_allclose(box, [8 - 500, 16 - 1000, 8 + 500, 16 + 1000], rtol=1e-5)


def test_decode_does_not_limit_shrinking():
    box = box_ops.decode(tf.constant([0.0, 0, -10, -10]), tf.constant([0.0, 0, 16, 16]))
    np.testing.assert_allclose(box[2] - box[0], 16 * np.exp(-10), atol=2e-6)


def test_decode_computes_in_float32():
    deltas = tf.zeros([4], tf.bfloat16)
    box = box_ops.decode(deltas, tf.constant([0.0, 0, 333, 777]))
    assert box.dtype == tf.float32
    np.testing.assert_array_equal(box, [0, 0, 333, 777])


def test_ioa_is_the_share_of_the_first_box():
    first = tf.constant([[[0.0, 0, 10, 10], [0, 0, 0, 5]]])
    second = tf.constant([[[0.0, 0, 100, 5], [20, 20, 30, 30], [0, 0, 0, 0]]])
    np.testing.assert_array_equal(box_ops.ioa(first, second), [[[0.5, 0, 0], [0, 0, 0]]])
