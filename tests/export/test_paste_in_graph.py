"""Compares export/paste_in_graph.py with ops/masks.py, pixel by pixel."""

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from keras_maskrcnn.export import paste_in_graph
from keras_maskrcnn.ops import masks as mask_ops

RULES = ("detectron2", "torchvision")


def random_box(rng, kind):
    corners = rng.uniform(-40, 160, (2, 2))  # images have sides of up to 120
    if kind == "tiny":
        corners[1] = corners[0] + rng.uniform(0, 1.5, 2)
    elif kind == "whole pixels":
        corners = np.round(corners)
    elif kind == "without area":
        corners[1, 0] = corners[0, 0]
    low, high = corners.min(axis=0), corners.max(axis=0)
    return np.concatenate([low, high]).astype(np.float32)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["any", "tiny", "whole pixels", "without area"])
def test_pasted_pixels_are_those_of_the_package(rule, kind):
    paste = tf.function(
        lambda mask, box, size: paste_in_graph.paste_region(mask, box, size, rule),
        input_signature=[tf.TensorSpec([14, 14]), tf.TensorSpec([4]), tf.TensorSpec([2], tf.int64)],
    )
    rng = np.random.default_rng(0)
    for i in range(150):
        size, box = rng.integers(1, 120, 2), random_box(rng, kind)
        # With a mask of ones, all values at the box's border equal the threshold.
        mask = rng.random((14, 14)).astype(np.float32) if i % 3 else np.ones((14, 14), np.float32)
        region, (top, left) = (x.numpy() for x in paste(mask, box, size))
        whole = np.zeros(size, np.uint8)
        whole[top : top + region.shape[0], left : left + region.shape[1]] = region
        expected = mask_ops.paste_binary(mask, box, *size, rule=rule)
        np.testing.assert_array_equal(whole, expected, err_msg=f"{box}, {size}")


@pytest.mark.parametrize("rule", RULES)
def test_masks_of_a_batch_are_pasted_into_images_of_their_own_sizes(rule):
    rng = np.random.default_rng(0)
    sizes = np.array([[40, 30], [20, 50]], np.int32)
    outputs = {
        "labels": np.array([[1, 2, 0], [3, 0, 0]], np.int32),
        "boxes": np.zeros((2, 3, 4), np.float32),
        "masks": rng.random((2, 3, 28, 28), np.float32),
    }
    outputs["boxes"][0, :2] = [[-3.5, 2.2, 12.1, 31.9], [5, 20, 29, 39]]
    outputs["boxes"][1, 0] = [10.3, -1, 50, 18.7]
    expected = np.zeros((2, 3, 40, 50), np.uint8)
    counts = [[coco_mask.encode(np.zeros(s, np.uint8, "F"))["counts"]] * 3 for s in sizes]
    for i, j in ((0, 0), (0, 1), (1, 0)):
        height, width = sizes[i]
        pasted = mask_ops.paste_binary(
            outputs["masks"][i, j], outputs["boxes"][i, j], height, width, rule=rule
        )
        expected[i, j, :height, :width] = pasted
        counts[i][j] = coco_mask.encode(pasted)["counts"]
    assert expected[0].any() and expected[1].any()
    outputs = {name: tf.constant(value) for name, value in outputs.items()}
    binary = tf.function(paste_in_graph.paste_binary)(outputs, sizes, rule)
    np.testing.assert_array_equal(binary, expected)
    assert tf.function(paste_in_graph.paste_rle)(outputs, sizes, rule).numpy().tolist() == counts
