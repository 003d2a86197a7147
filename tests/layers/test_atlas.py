import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.roi_align import roi_align

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize("case", [0, 1, 2, 3])
def test_roi_align_never_reads_a_neighboring_level(case):
    # The levels lie next to each other in the atlas. Each is filled with its number.
    features = [tf.fill([1, 32 // 2**i, 64 // 2**i, 1], float(i)) for i in range(4)]
    corners = [[0, 0, 128, 128], [128, 0, 256, 128], [0, 64, 128, 128], [0, 0, 256, 128]]
    boxes = tf.constant([[corners[case]] * 4], tf.float32)
    out = roi_align(features, boxes, tf.constant([[0, 1, 2, 3]]), output_size=7, strides=STRIDES)
    expected = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 7, 7))
    np.testing.assert_allclose(out[0, ..., 0], expected, atol=1e-6)


def test_roi_align_of_a_level_equals_that_level_alone():
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    boxes = tf.constant([[[3.0, 5, 120, 90], [100, 30, 256, 128]]] * 2)
    for level in range(4):
        levels = tf.fill([2, 2], level)
        out = roi_align(features, boxes, levels, output_size=3, strides=STRIDES)
        alone = roi_align(
            [features[level]],
            boxes,
            tf.zeros([2, 2], tf.int32),
            output_size=3,
            strides=STRIDES[level : level + 1],
        )
        np.testing.assert_allclose(out, alone, atol=1e-5)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
def test_a_box_a_cell_wide_at_the_end_of_its_map_does_not_read_the_next_one(sampling_ratio):
    # With aligned=False the box grows to one cell. It then reaches out of the image and reads 0.
    features = [tf.ones([1, 8, 8, 1]), tf.fill([1, 4, 4, 1], 1000.0)]
    out = roi_align(
        features,
        tf.constant([[[31.9, 0.0, 32.0, 32.0]]]),
        tf.zeros([1, 1], tf.int32),
        output_size=1,
        strides=(4, 8),
        sampling_ratio=sampling_ratio,
        aligned=False,
    )
    assert float(out[0, 0, 0, 0, 0]) == 0.0
