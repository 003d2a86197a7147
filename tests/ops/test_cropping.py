import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops.cropping import crop_and_resize

IMAGES = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
BOXES = np.float32([[0, 0, 1, 1], [1, 1, 0.5, 0], [0, 0, 3, 1]])
OWNERS = np.int32([0, 1, 1])
# TensorFlow estimates the costs of graphs that add more than two tensors.
ESTIMATE = """
import tensorflow as tf
from keras_maskrcnn.ops.cropping import crop_and_resize

specs = [tf.TensorSpec(shape, dtype) for shape, dtype in SPECS]
for crop in (crop_and_resize, tf.image.crop_and_resize):
    @tf.function(input_signature=specs)
    def run(images, boxes, owners):
        points = crop(images, boxes, owners, [5, 7])
        return tf.add_n([points, points * 2, tf.exp(points)])

    print(f"{crop.__name__}:", file=sys.stderr, flush=True)
    run(tf.ones([1, 4, 4, 1]), tf.zeros([3, 4]), [0, 0, 0])
"""


def test_points_are_those_of_the_grid_and_zero_outside():
    points = crop_and_resize(IMAGES, BOXES, OWNERS, [2, 2]).numpy()
    first, second = IMAGES
    np.testing.assert_array_equal(points[0], first[::2, ::3])
    np.testing.assert_array_equal(points[1], [second[2, 3::-3], second[1, 3::-3]])
    np.testing.assert_array_equal(points[2], [second[0, ::3], np.zeros((2, 2))])


@pytest.mark.parametrize("known", [True, False])
def test_a_graph_gives_the_same_numbers(known):
    @tf.function(autograph=False)
    def run(height):
        size = [5, 7] if known else [height, height + 2]
        points = crop_and_resize(IMAGES, BOXES, OWNERS, size)
        assert points.shape.as_list() == [3, *([5, 7] if known else [None, None]), 2]
        return points

    expected = tf.image.crop_and_resize(IMAGES, BOXES, OWNERS, [5, 7])
    np.testing.assert_array_equal(run(tf.constant(5)), expected)


def test_costs_are_estimated_without_a_warning():
    """If TensorFlow's own operation no longer warns, the module can go."""
    specs = [([None, None, None, 1], "float32"), ([None, 4], "float32"), ([None], "int32")]
    program = ESTIMATE.replace("SPECS", str(specs))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys{program}"],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    ours, theirs = done.stderr.split("crop_and_resize:")[1].split("crop_and_resize_v2:")
    assert "Error in PredictCost()" in theirs
    assert "Error in PredictCost()" not in ours
