import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_layer import RoILayer, roi_levels, takes_owners
from keras_maskrcnn.layers.roi_pool import RoICrop, RoIPool, RoIWarp

STRIDES = (4, 8, 16, 32)


@pytest.mark.parametrize(
    ("side", "level"),
    [(1, 0), (111, 0), (112, 1), (223, 1), (224, 2), (447, 2), (448, 3), (2000, 3), (0, 0)],
)
def test_roi_levels_double_with_the_side(side, level):
    assert int(roi_levels(tf.constant([0.0, 0, side, side]), 4)) == level


def test_roi_levels_scale_with_the_canonical_size():
    assert int(roi_levels(tf.constant([0.0, 0, 56, 56]), 4, canonical_size=56.0)) == 2


def test_roi_levels_equal_detectron2(golden):
    data = golden("levels")
    sides = np.sqrt(np.prod((data["boxes"][:, 2:] - data["boxes"][:, :2]).astype(float), axis=1))
    octaves = np.log2(np.maximum(sides, 1.0) / 224)
    gap = np.abs(octaves - np.round(octaves))
    # One float32 step below a border, the logarithm may round to either side. On the border it
    # must not.
    clear = (gap == 0) | (gap > 2e-7)
    assert clear.sum() >= 85
    levels = roi_levels(tf.constant(data["boxes"]), 4).numpy()
    np.testing.assert_array_equal(levels[clear], (data["level_detectron2_formula"] - 2)[clear])


def test_roi_levels_equal_torchvision(golden):
    data = golden("levels")
    levels = roi_levels(tf.constant(data["boxes"]), 4, rule="torchvision").numpy()
    np.testing.assert_array_equal(levels, data["level_torchvision"] - 2)


@pytest.mark.parametrize(("side", "level"), [(79, 0), (80, 1), (158, 1), (159, 2), (317, 3)])
def test_roi_levels_of_matterport_are_the_nearest(side, level):
    # Borders are 224 times the square roots of 1/8, 1/2 and 2: 79.2, 158.4, 316.8.
    assert int(roi_levels(tf.constant([0.0, 0, side, side]), 4, rule="matterport")) == level


def test_roi_levels_of_a_pyramid_equal_torchvision(golden):
    data = golden("multiscale")
    boxes = np.concatenate([data["boxes.0"], data["boxes.1"]])
    levels = roi_levels(tf.constant(boxes), 4, canonical_size=56.0)
    np.testing.assert_array_equal(levels, data["levels_canonical56"])


def test_layer_pools_each_box_from_its_level():
    features = [tf.fill([1, 128 // 2**i, 128 // 2**i, 1], float(i)) for i in range(4)]
    boxes = tf.constant([[[0.0, 0, side, side] for side in (20, 28, 60, 120, 500)]])
    boxes = tf.minimum(boxes, 512.0)
    out = RoIAlign(2, STRIDES, canonical_size=56.0)(features, boxes)
    np.testing.assert_allclose(out[0, :, 0, 0, 0], [0, 1, 2, 3, 3], atol=1e-6)


def test_layer_does_not_round_boxes_to_bfloat16():
    # bfloat16 has no numbers between 256 and 258. A ramp along x shows which cell was read.
    ramp = tf.tile(tf.reshape(tf.range(512.0), [1, 1, 512, 1]), [1, 4, 1, 1])
    layer = RoIAlign(1, [1], sampling_ratio=1, dtype="mixed_bfloat16")
    out = layer([ramp / 512], tf.constant([[[256.0, 1, 257, 2], [257.0, 1, 258, 2]]]))
    exact = RoIAlign(1, [1], sampling_ratio=1)(
        [ramp / 512], tf.constant([[[256.0, 1, 257, 2], [257.0, 1, 258, 2]]])
    )
    np.testing.assert_allclose(exact[0, :, 0, 0, 0] * 512, [256, 257], rtol=1e-5)
    # The values are bfloat16. If the box were rounded to width 0, both values would be equal.
    np.testing.assert_allclose(tf.cast(out, tf.float32), exact, rtol=2**-8)


def test_layer_is_not_compiled_with_xla():
    assert not RoIAlign(7, STRIDES).supports_jit


@pytest.mark.parametrize(
    "layer",
    [
        RoIAlign(4, STRIDES, canonical_size=56.0),
        RoIAlign(4, STRIDES, canonical_size=56.0, sampling_ratio=0),
        RoIAlign(4, STRIDES, canonical_size=56.0, aligned=False),
        RoIAlign(4, STRIDES, canonical_size=56.0, pooling="max"),
        RoICrop(4, STRIDES, canonical_size=56.0),
        RoIPool(4, STRIDES, canonical_size=56.0),
        RoIWarp(4, STRIDES, canonical_size=56.0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_boxes_of_all_images_in_one_list_are_pooled_as_in_a_batch(layer):
    rng = np.random.default_rng(0)
    features = [
        tf.constant(rng.normal(size=(3, 128 // s, 128 // s, 5)), tf.float32) for s in STRIDES
    ]
    corner, side = rng.uniform(0, 60, (2, 3, 6, 2))
    boxes = np.concatenate([corner, corner + side], axis=-1).astype(np.float32)
    owners, slots = np.array([2, 0, 2, 2], np.int32), np.array([5, 1, 0, 5])
    found, expected = [], []
    for results, arguments, chosen in (
        (expected, (boxes,), (owners, slots)),
        (found, (boxes[owners, slots], owners), slice(None)),
    ):
        with tf.GradientTape() as tape:
            tape.watch(features)
            pooled = layer(features, *map(tf.constant, arguments))
            weights = np.zeros(pooled.shape, np.float32)
            np.add.at(weights, chosen, 1.0)
            total = tf.reduce_sum(pooled * weights)
        results += [pooled.numpy()[chosen], *tape.gradient(total, features)]
    np.testing.assert_array_equal(found[0], expected[0])
    for gradient, other in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(gradient, other, atol=1e-5)
    shapes = [x.shape for x in features]
    assert layer.compute_output_shape(shapes, (4, 4), (4,)) == found[0].shape
    assert takes_owners(layer)


def test_a_layer_whose_pool_takes_no_owners_says_so():
    class Own(RoILayer):
        def pool(self, features, boxes, levels):
            return boxes

    assert not takes_owners(Own(4, STRIDES))
