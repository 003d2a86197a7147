"""data/augment/pasting.py."""

import numpy as np
import pytest
import tensorflow as tf
from drawn_examples import EMPTY, SEED, SIDE, assert_equal, full_size, iou, make_example

from keras_maskrcnn.data import augment


def test_nothing_pasted_is_the_identity():
    example = make_example(0)
    assert_equal(augment.copy_paste(example, make_example(1), SEED, share=0.0), example)
    assert_equal(augment.paste(example, EMPTY), example)


def test_pasted_pixels_are_the_others_and_belong_to_nobody_else():
    for i in range(6):
        base, other = make_example(i), make_example(100 + i)
        found = augment.paste(base, other)
        count = len(other["labels"])
        np.testing.assert_array_equal(found["masks"][-count:], other["masks"])
        np.testing.assert_array_equal(found["boxes"][-count:], other["boxes"])
        pasted = full_size(other).any(axis=0)
        expected = np.where(pasted[..., None], other["image"], base["image"])
        np.testing.assert_array_equal(found["image"], expected)
        below = full_size(found)[:-count]
        assert not (below & pasted).any()
        kept = found["labels"].numpy()[:-count] - 1
        left = full_size(base)[kept] & ~pasted
        ious = [iou(a, b) for a, b in zip(below, left, strict=True)]
        assert min(ious) > 0.9 and np.mean(ious) > 0.98


def test_a_covered_instance_is_dropped_and_an_untouched_one_stays():
    ones = tf.fill([2, SIDE, SIDE], tf.constant(255, tf.uint8))
    base = make_example(0) | {
        "boxes": tf.constant([[10.0, 10, 20, 20], [40, 30, 50, 40]]),
        "masks": ones,
        "labels": tf.constant([1, 2]),
    }
    other = make_example(1) | {
        "boxes": tf.constant([[9.0, 9, 21, 21]]),
        "masks": ones[:1],
        "labels": tf.constant([3]),
    }
    found = augment.paste(base, other)
    np.testing.assert_array_equal(found["labels"], [2, 3])
    np.testing.assert_array_equal(found["boxes"], [[40, 30, 50, 40], [9, 9, 21, 21]])


@pytest.mark.parametrize(("min_visible", "labels"), [(0.25, [1, 3]), (0.35, [3])])
def test_the_rest_of_a_pasted_over_instance_gets_a_new_box(min_visible, labels):
    ones = tf.fill([1, SIDE, SIDE], tf.constant(255, tf.uint8))
    base = make_example(0) | {"boxes": tf.constant([[10.0, 10, 20, 20]]), "masks": ones}
    other = make_example(1) | {"boxes": tf.constant([[5.0, 5, 17, 25]]), "masks": ones}
    base, other = base | {"labels": tf.constant([1])}, other | {"labels": tf.constant([3])}
    found = augment.paste(base, other, min_visible)  # 3 of 10 columns are left
    np.testing.assert_array_equal(found["labels"], labels)
    if len(labels) == 2:
        np.testing.assert_allclose(found["boxes"][0], [17, 10, 20, 20], atol=10 / SIDE)


@pytest.mark.parametrize("size", [(30, 90), (70, 40)])
def test_an_example_of_another_size_is_pasted_at_the_upper_left(size):
    base, other = make_example(0), make_example(1, height=size[0], width=size[1])
    found = augment.paste(base, other, min_visible=0.0)
    height, width = min(48, size[0]), min(64, size[1])
    assert found["image"].shape == (48, 64, 3)
    cut = augment.crop(other, tf.constant([0, 0, width, height]), 0.0)
    pasted = full_size(cut).any(axis=0)
    np.testing.assert_array_equal(
        found["image"][:height, :width],
        np.where(pasted[..., None], cut["image"], base["image"][:height, :width]),
    )
    np.testing.assert_array_equal(found["boxes"][-len(cut["boxes"]) :], cut["boxes"])
