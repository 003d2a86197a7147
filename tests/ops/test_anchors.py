import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.ops import anchors as anchor_ops

STRIDES, SIZES, RATIOS = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)


def test_cell_anchors_by_hand():
    # Ratio 4 is height over width: an anchor 16 wide and 64 high has the area of 32 x 32.
    np.testing.assert_array_equal(
        anchor_ops.cell_anchors([32], [1, 4]), [[-16, -16, 16, 16], [-8, -32, 8, 32]]
    )


def test_cell_anchors_put_the_size_outermost():
    cell = anchor_ops.cell_anchors([2, 4], [1, 4])
    np.testing.assert_array_equal(cell[:, 2] - cell[:, 0], [2, 1, 4, 2])


def test_cell_anchors_have_the_area_of_their_size():
    cell = anchor_ops.cell_anchors([32, 64], RATIOS)
    areas = (cell[:, 2] - cell[:, 0]) * (cell[:, 3] - cell[:, 1])
    np.testing.assert_allclose(areas, np.repeat([32**2, 64**2], 3), rtol=1e-6)


def test_level_anchors_are_centered_on_the_stride_times_the_index():
    anchors = anchor_ops.level_anchors(2, 3, 8, [4], [1])
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    np.testing.assert_array_equal(centers, [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]])


def test_level_anchors_take_a_size_known_at_run_time():
    function = tf.function(lambda h, w: anchor_ops.level_anchors(h, w, 4, [32], RATIOS))
    anchors = function(tf.constant(2), tf.constant(3))
    np.testing.assert_array_equal(anchors, anchor_ops.level_anchors(2, 3, 4, [32], RATIOS))


def test_pyramid_anchors_equal_detectron2(golden):
    levels = [
        anchor_ops.level_anchors(-(-128 // stride), -(-192 // stride), stride, [size], RATIOS)
        for stride, size in zip(STRIDES, SIZES, strict=True)
    ]
    np.testing.assert_allclose(np.concatenate(levels), golden("anchors")["fpn.anchors"], atol=1e-4)


@pytest.mark.parametrize("name", ["fpn", "uneven"])
def test_rounded_anchors_equal_torchvision(golden, name):
    # Strides follow from the padded image: 100 x 75 pixels and 13 x 10 cells give 7 x 7 pixels per
    # cell.
    expected = golden("anchors_torchvision")[f"{name}.anchors"]
    if name == "fpn":
        grids = [
            (-(-128 // s), -(-192 // s), [128 // -(-128 // s), 192 // -(-192 // s)], [size])
            for s, size in zip(STRIDES, SIZES, strict=True)
        ]
    else:
        grids = [(13, 10, [100 // 13, 75 // 10], [16])]
    ratios = RATIOS if name == "fpn" else [1]
    levels = [anchor_ops.level_anchors(*grid, ratios, rounded=True) for grid in grids]
    np.testing.assert_array_equal(np.concatenate(levels), expected)


def test_single_map_anchors_equal_detectron2(golden):
    anchors = anchor_ops.level_anchors(8, 12, 16, SIZES, RATIOS)
    np.testing.assert_allclose(anchors, golden("anchors")["c4.anchors"], atol=1e-4)
