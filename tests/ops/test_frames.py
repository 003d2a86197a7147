import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.frames import Frame

BOXES = tf.constant([[[10.0, 20.0, 11.0, 22.0], [0.0, 0.0, 0.0, 0.0]]])


def test_a_box_of_one_pixel_ends_where_it_begins_if_boxes_are_inclusive():
    ours = Frame(inclusive=True).from_exclusive(BOXES)
    np.testing.assert_array_equal(ours[0, 0], [10, 20, 10, 21])


@pytest.mark.parametrize("inclusive", [False, True])
def test_both_ways_are_inverse_and_padding_stays_zero(inclusive):
    frame, filled = Frame(inclusive), tf.constant([[True, False]])
    there = frame.from_exclusive(BOXES, filled)
    assert not np.any(there[0, 1])
    np.testing.assert_array_equal(frame.to_exclusive(there, filled), BOXES)


def test_exclusive_boxes_are_those_of_the_package():
    assert Frame().from_exclusive(BOXES) is Frame().to_exclusive(BOXES) is BOXES


def test_the_last_pixel_of_an_image_is_its_border_if_boxes_are_inclusive():
    sizes = tf.constant([[64, 96]])
    np.testing.assert_array_equal(Frame(inclusive=True).borders(sizes), [[63, 95]])
    np.testing.assert_array_equal(Frame().borders(sizes), sizes)


@pytest.mark.parametrize("rule", ["detectron2", "torchvision", "matterport"])
def test_of_all_anchor_rules_matterports_alone_has_inclusive_boxes(rule):
    assert Frame.of(rule).inclusive == (rule == "matterport")
