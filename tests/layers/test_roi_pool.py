import keras
import numpy as np
import pytest
import roi_definitions
import tensorflow as tf
from contracts import check_layer

from keras_maskrcnn.layers.roi_align import roi_align
from keras_maskrcnn.layers.roi_layer import roi_levels
from keras_maskrcnn.layers.roi_pool import (
    RoICrop,
    RoIPool,
    RoIWarp,
    quantize,
    roi_pool,
    roi_warp,
)

STRIDES = (4, 8, 16, 32)
OPERATIONS = [roi_align, roi_pool, roi_warp]


def pool_one(operation, features, boxes, output_size, stride=1, **options):
    """Pools boxes (R, 4) from one map (H, W, K) -> (R, m, m, K)."""
    boxes = tf.constant(boxes, tf.float32)[None]
    levels = tf.zeros(boxes.shape[:2], tf.int32)
    features = tf.constant(features, tf.float32)[None]
    out = operation([features], boxes, levels, output_size=output_size, strides=[stride], **options)
    return out[0].numpy()


def shuffled(*shape):
    """Makes a map of distinct integers, exact in float32, in random order."""
    values = np.random.default_rng(0).permutation(np.prod(shape))
    return values.reshape(shape).astype(np.float32)


def random_boxes(count, width, height, seed=0):
    """Makes (count, 4) boxes; some begin or end outside the map."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.2, 1.2, (count, 2, 2)) * [width, height]
    return np.sort(corners, axis=1).reshape(count, 4).astype(np.float32)


def pool_golden(data, features):
    """Pools the golden RoIs, each with its image's index, as one padded batch."""
    rois = data["rois"]
    boxes = tf.tile(tf.constant(rois[None, :, 1:]), [2, 1, 1])
    levels = tf.zeros([2, len(rois)], tf.int32)
    out = roi_pool([features], boxes, levels, output_size=7, strides=[4])
    index = np.stack([rois[:, 0], np.arange(len(rois))], axis=1).astype(np.int32)
    return tf.gather_nd(out, index)


@pytest.mark.parametrize(
    ("box", "cells"),
    [
        ([0, 0, 7, 8], [0, 0, 1, 2]),  # ends at cells 0.4375 and 0.5, and includes its last cell
        ([24, 8, 40, 56], [2, 1, 4, 5]),  # 1.5, 0.5, 2.5, 3.5: not rounded to the even neighbor
        ([-8, -24, 8, 7], [-1, -2, 2, 1]),  # away from zero, below and above it
        ([7.9999995, 0, 16, 16], [0, 0, 2, 2]),  # the largest float32 below 8
        ([160, 160, 20, 20], [10, 10, 11, 11]),  # reversed
    ],
)
def test_quantize_rounds_to_whole_cells(box, cells):
    out = quantize(tf.constant([[box]], tf.float32), tf.zeros([1, 1], tf.int32), [16])
    np.testing.assert_array_equal(out[0, 0], cells)


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_quantize_is_exact_in_a_graph(stride):
    # In graphs, TensorFlow replaces a division by the constant 4 with a product with 0.24999999.
    halves = np.arange(0.5, 60).astype(np.float32)
    boxes = np.stack([halves * 0, halves * 0, halves, halves], axis=1)[None] * stride
    function = tf.function(lambda b: quantize(b, tf.zeros([1, 60], tf.int32), [stride]))
    out = function(tf.constant(boxes))
    np.testing.assert_array_equal(out[0, :, 2], halves + 1.5)


def test_roi_pool_equals_torchvision(golden):
    # 24 RoIs: inside, partly and wholly outside the map, empty and reversed.
    data = golden("roi_pool")
    out = pool_golden(data, tf.constant(data["features"].transpose(0, 2, 3, 1)))
    np.testing.assert_array_equal(out, data["out_7x7"].transpose(0, 2, 3, 1))


def test_roi_pool_gradient_equals_torchvision(golden):
    data, expected = golden("roi_pool"), golden("roi_pool_gradient")
    features = tf.constant(data["features"].transpose(0, 2, 3, 1))
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = pool_golden(data, features)
    gradient = tape.gradient(out, features, expected["weight"].transpose(0, 2, 3, 1))
    # Sums of up to a few hundred numbers near 1, added in another order.
    np.testing.assert_allclose(gradient, expected["gradient"].transpose(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize("output_size", [1, 2, 3, 7, 14])
def test_roi_pool_equals_its_definition(output_size):
    features, boxes = shuffled(33, 45, 2), random_boxes(40, 4 * 45, 4 * 33)
    out = pool_one(roi_pool, features, boxes, output_size, stride=4)
    expected = [roi_definitions.roi_pool(features, box, 4, output_size) for box in boxes]
    np.testing.assert_array_equal(out, expected)


def test_roi_pool_takes_the_maximum_of_blocks():
    # The box has 6 columns and 4 rows of cells, so each bin has 3 x 2. It includes its last cell.
    features = shuffled(8, 9, 3)
    out = pool_one(roi_pool, features, [[1 * 16, 2 * 16, 6 * 16, 5 * 16]], 2, stride=16)
    blocks = features[2:6, 1:7].reshape(2, 2, 2, 3, 3).max(axis=(1, 3))
    np.testing.assert_array_equal(out[0], blocks)


def test_roi_pool_of_blocks_equals_the_maximum_of_points_at_their_cells():
    # 3 x 3 points in a bin of 3 x 3 cells lie on the cells' centers.
    features = shuffled(20, 22, 2)
    pooled = pool_one(roi_pool, features, [[2, 1, 16, 15]], 5)
    points = pool_one(roi_align, features, [[2, 1, 17, 16]], 5, sampling_ratio=3, pooling="max")
    np.testing.assert_allclose(points, pooled, rtol=1e-5)


def test_roi_pool_reads_no_cell_behind_a_box_of_57():
    # In float32, 7 * (57 / 7) > 57. Therefore the last bin of Caffe and torchvision has one cell
    # too many.
    columns = np.arange(60.0).reshape(1, 60, 1)
    out = pool_one(roi_pool, columns, [[0, 0, 56, 0]], 7)
    assert out[0, 0, 6, 0] == 56


def test_roi_pool_of_bins_outside_the_map_is_zero():
    out = pool_one(roi_pool, np.full((4, 4, 1), -7.0), [[2, 0, 5, 3], [9, 9, 12, 12]], 2)
    np.testing.assert_array_equal(out[0, :, :, 0], [[-7, 0], [-7, 0]])
    np.testing.assert_array_equal(out[1, :, :, 0], np.zeros((2, 2)))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 0.0, -0.0, 1e-42])
def test_roi_pool_gradient_goes_to_the_first_of_equal_cells(value):
    features = tf.fill([1, 5, 6, 1], np.float32(value))
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = roi_pool(
            [features],
            tf.constant([[[1.0, 2, 4, 4]]]),
            tf.zeros([1, 1], tf.int32),
            output_size=1,
            strides=[1],
        )
    expected = np.zeros((5, 6))
    expected[2, 1] = 1
    np.testing.assert_array_equal(tape.gradient(out, features)[0, ..., 0], expected)


def test_roi_pool_gradient_loses_nothing():
    # Integers, so that float32 holds their sums exactly, and many boxes on one spot.
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (1, 512, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (1, 512, 2))], axis=-1)
    features = tf.constant(shuffled(1, 64, 64, 7))
    upstream = rng.integers(-9, 10, (1, 512, 7, 7, 7)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        out = roi_pool(
            [features],
            tf.constant(boxes, tf.float32),
            tf.zeros([1, 512], tf.int32),
            output_size=7,
            strides=[1],
        )
    gradient = tape.gradient(out, features, upstream).numpy()
    np.testing.assert_array_equal(gradient.sum((0, 1, 2)), upstream.sum((0, 1, 2, 3)))


def check_gradient(operation, features, boxes, step, **options):
    """Compares the gradient on a map (H, W) with differences; each bin has a different weight."""
    weights = np.arange(1.0, 9 * len(boxes) + 1).reshape(len(boxes), 3, 3, 1)

    def pool(maps):
        count = maps.shape[0]
        out = operation(
            [maps],
            tf.tile(tf.constant([boxes], tf.float32), [count, 1, 1]),
            tf.zeros([count, len(boxes)], tf.int32),
            output_size=3,
            strides=[1],
            **options,
        )
        return tf.reduce_sum(tf.cast(out, tf.float64) * weights, axis=[1, 2, 3, 4])

    maps = tf.constant(features[None, ..., None])
    with tf.GradientTape() as tape:
        tape.watch(maps)
        out = pool(maps)
    expected = roi_definitions.differences(pool, features, step)
    # float32 rounds each value by 1e-7 of it. Weights of up to 18 multiply this error, and `step`
    # divides it.
    atol = 18 * 1e-7 * np.abs(features).max() / step
    np.testing.assert_allclose(tape.gradient(out, maps)[0, ..., 0], expected, atol=atol)
    assert np.count_nonzero(expected) >= 9


def test_roi_pool_gradient_equals_differences():
    # The values are distinct integers: a step of a quarter changes no maximum.
    check_gradient(roi_pool, shuffled(9, 8), [[0, 1, 6, 8], [2, 2, 5, 7]], 0.25)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("operation", [roi_align, roi_warp])
def test_gradient_of_sampled_points_equals_differences(operation, pooling):
    features = np.random.default_rng(0).normal(size=(9, 8)).astype(np.float32)
    boxes, step = [[1.2, 1.1, 6.3, 6.9], [2.3, 0.7, 4.9, 7.2]], 2**-9
    if pooling == "max":  # no step may make another point the largest
        for box in boxes:
            cells = box if operation is roi_align else roi_definitions.quantized(box, 1)
            points = roi_definitions.bin_points(features[..., None], cells, 3, 2)
            second, first = np.sort(points, axis=2)[:, :, -2:, 0].transpose(2, 0, 1)
            assert (first - second).min() > 2 * step
    check_gradient(operation, features, boxes, step, pooling=pooling)


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("output_size", [1, 2, 7])
def test_roi_warp_equals_its_definition(output_size, pooling):
    features = np.random.default_rng(0).normal(size=(17, 21, 2))
    boxes = random_boxes(20, 4 * 21, 4 * 17)
    # Boxes are clipped to the map, because a point exactly one cell outside reads the edge or 0.
    boxes = np.clip(boxes, 0, [80, 64, 80, 64])
    out = pool_one(roi_warp, features, boxes, output_size, stride=4, pooling=pooling)
    for pooled, box in zip(out, boxes, strict=True):
        cells = roi_definitions.quantized(box, 4)
        points = roi_definitions.bin_points(features, cells, output_size, 2)
        expected = points.max(axis=2) if pooling == "max" else points.mean(axis=2)
        np.testing.assert_allclose(pooled, expected, atol=1e-5)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2])
def test_roi_warp_of_boxes_that_round_alike_is_the_same(sampling_ratio):
    features, boxes = shuffled(9, 9, 1), [[12.1, 9, 47, 50], [19.9, 23.9, 40.1, 55.9]]
    one, other = pool_one(roi_warp, features, boxes, 3, stride=16, sampling_ratio=sampling_ratio)
    np.testing.assert_array_equal(one, other)
    whole = [[16, 16, 64, 64]]  # cells 1 to 3
    exact = pool_one(roi_align, features, whole, 3, stride=16, sampling_ratio=sampling_ratio)
    np.testing.assert_allclose(one, exact[0], atol=1e-4)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_roi_warp_reads_zero_beyond_one_cell_outside(pooling):
    # A box at the end of a map of 4 x 4 cells ends in the fifth cell and is 3 cells wide. Its
    # points lie at 2.25, 2.75, ... 4.25, 4.75. Only points up to 4.5 read the edge.
    constant, box = np.full((4, 4, 1), 6.0), [[2, 2, 4, 4]]
    out = pool_one(roi_warp, constant, box, 3, pooling=pooling)[0, ..., 0]
    half, corner = (6, 6) if pooling == "max" else (3, 1.5)
    np.testing.assert_allclose(out, [[6, 6, half], [6, 6, half], [half, half, corner]], rtol=1e-6)


@pytest.mark.parametrize(
    ("operation", "options"), [(roi_pool, {}), (roi_warp, {}), (roi_warp, {"pooling": "max"})]
)
def test_box_at_the_end_of_its_map_does_not_read_the_next_one(operation, options):
    features = [tf.ones([1, 8, 8, 1]), tf.fill([1, 4, 4, 1], 1000.0)]
    out = operation(
        features,
        tf.constant([[[16.0, 16.0, 32.0, 32.0]]]),
        tf.zeros([1, 1], tf.int32),
        output_size=5,
        strides=(4, 8),
        **options,
    )
    assert np.min(out) >= 0 and np.max(out) <= 1.0001


@pytest.mark.parametrize("operation", [roi_pool, roi_warp])
def test_a_level_of_a_pyramid_equals_that_level_alone(operation):
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    boxes = tf.constant(random_boxes(20, 256, 128).clip(0, [256, 128, 256, 128]))
    boxes = tf.reshape(tf.cast(boxes, tf.float32), [2, 10, 4])
    for level in range(4):
        levels = tf.fill([2, 10], level)
        out = operation(features, boxes, levels, output_size=3, strides=STRIDES)
        alone = operation(
            [features[level]],
            boxes,
            tf.zeros([2, 10], tf.int32),
            output_size=3,
            strides=STRIDES[level : level + 1],
        )
        # The atlas is larger than one level, so float32 rounds positions on it more coarsely.
        np.testing.assert_allclose(out, alone, atol=0 if operation is roi_pool else 5e-5)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_map_and_boxes_moved_by_a_cell_give_the_same(operation):
    features = np.random.default_rng(0).normal(size=(12, 14, 2))
    boxes = random_boxes(20, 4 * 12, 4 * 10).clip(0, 40)
    moved = np.roll(features, (1, 1), axis=(0, 1))
    out = pool_one(operation, features[:11, :13], boxes, 3, stride=4)
    again = pool_one(operation, moved, boxes + 4, 3, stride=4)
    # Bins at the upper left edge now read cells beyond it, so such boxes are left out.
    inside = (boxes[:, :2] >= 4).all(axis=1)
    assert inside.sum() >= 5
    np.testing.assert_allclose(again[inside], out[inside], atol=1e-5)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_equals_its_images_one_by_one(operation):
    features = tf.random.normal([3, 12, 14, 2])
    boxes = tf.constant(random_boxes(15, 56, 48).reshape(3, 5, 4))
    levels = tf.zeros([3, 5], tf.int32)
    together = operation([features], boxes, levels, output_size=3, strides=[4])
    for i in range(3):
        one = slice(i, i + 1)
        alone = operation([features[one]], boxes[one], levels[one], output_size=3, strides=[4])
        np.testing.assert_allclose(together[one], alone, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        RoIPool(3, STRIDES, canonical_size=56.0, level_rule="torchvision"),
        RoIWarp(3, STRIDES, 1, canonical_size=56.0, level_rule="torchvision"),
        RoIWarp(3, STRIDES, canonical_size=56.0, pooling="max"),
        RoICrop(3, STRIDES, canonical_size=56.0, level_rule="matterport"),
    ],
)
def test_layer_fulfils_the_layer_contract(layer):
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    boxes = tf.constant([[[3.0, 5, 120, 90], [100, 30, 256, 128]]] * 2)
    check_layer(layer, features, boxes)


@pytest.mark.parametrize(("layer", "operation"), [(RoIPool, roi_pool), (RoIWarp, roi_warp)])
def test_layer_pools_each_box_from_its_level_in_maps_of_unknown_size(layer, operation):
    inputs = [keras.Input((None, None, 3)) for _ in STRIDES]
    boxes = keras.Input((20, 4))
    pooled = layer(7, STRIDES, canonical_size=56.0)(inputs, boxes)
    model = keras.Model.from_config(keras.Model([*inputs, boxes], pooled).get_config())
    assert model.output.shape == (None, 20, 7, 7, 3)
    features = [tf.random.normal([2, 32 // 2**i, 64 // 2**i, 3]) for i in range(4)]
    boxes = tf.constant(random_boxes(40, 256, 128).clip(0, 128).reshape(2, 20, 4))
    levels = roi_levels(boxes, 4, canonical_size=56.0)
    assert len(np.unique(levels)) >= 3
    expected = operation(features, boxes, levels, output_size=7, strides=STRIDES)
    out = model.predict_on_batch([*features, boxes])
    # A graph may compute positions, which are up to 100 cells here, in another order.
    np.testing.assert_allclose(out, expected, atol=0 if operation is roi_pool else 5e-5)


@pytest.mark.parametrize("layer", [RoIPool, RoIWarp])
def test_layer_is_not_compiled_with_xla(layer):
    assert not layer(7, STRIDES).supports_jit


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [(RoIPool, "output_size", 0), (RoIWarp, "sampling_ratio", -1), (RoIWarp, "pooling", "sum")],
)
def test_layer_names_a_bad_value(layer, name, value):
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        layer(**{"output_size": 7, "strides": STRIDES, name: value})


def test_layer_measures_matterports_boxes_by_the_canvas_less_one_pixel():
    # P3 ends at 64 / sqrt(2) = 45.25 pixels. On a canvas of 128, Matterport scales this by
    # 127 / 128 to 44.90.
    features = [tf.fill([1, 32 // 2**i, 32 // 2**i, 1], float(i)) for i in range(4)]
    layer = RoICrop(2, STRIDES, 64.0, level_rule="matterport")
    pooled = layer(features, tf.constant([[[0.0, 0, 44.8, 44.8], [0, 0, 45, 45]]]))
    np.testing.assert_array_equal(pooled[0, :, 0, 0, 0], [1.0, 2.0])
