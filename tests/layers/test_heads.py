import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers import heads


def test_rpn_head_predicts_for_every_anchor_of_every_cell():
    logits, deltas = heads.rpn_head(8, num_anchors=3)(tf.zeros([2, 4, 5, 8]))
    assert logits.shape == (2, 4, 5, 3)
    assert deltas.shape == (2, 4, 5, 12)


def test_rpn_head_can_be_wider_than_its_input():
    model = heads.rpn_head(8, num_anchors=3, convs=2, width=5)
    assert [model.get_layer(f"conv{i}").kernel.shape for i in (1, 2)] == [
        (3, 3, 8, 5),
        (3, 3, 5, 5),
    ]
    assert model.get_layer("logits").kernel.shape == (1, 1, 5, 3)


def test_rpn_head_starts_undecided():
    logits, deltas = heads.rpn_head(8, num_anchors=3)(tf.zeros([1, 2, 2, 8]))
    np.testing.assert_array_equal(tf.sigmoid(logits), np.full((1, 2, 2, 3), 0.5))
    np.testing.assert_array_equal(deltas, np.zeros((1, 2, 2, 12)))


def test_rpn_head_sees_a_3x3_neighborhood():
    model = heads.rpn_head(8, num_anchors=3)
    features = np.zeros((1, 7, 7, 8), np.float32)
    features[0, 3, 3] = np.random.default_rng(0).normal(size=8)
    logits, _ = model(features)
    reached = np.abs(logits[0]).max(axis=-1) > 0
    expected = np.zeros((7, 7), bool)
    expected[2:5, 2:5] = True
    np.testing.assert_array_equal(reached, expected)


def test_box_head_predicts_background_and_deltas_without_it():
    model = heads.box_head(8, pool_size=7, units=16, num_classes=3)
    logits, deltas = model(tf.zeros([5, 7, 7, 8]))
    assert logits.shape == (5, 4)
    assert deltas.shape == (5, 3, 4)


def test_box_head_keeps_the_deltas_of_a_class_together():
    model = heads.box_head(1, pool_size=1, units=1, num_classes=3)
    model.get_layer("box_deltas").bias.assign(tf.range(12.0))
    _, deltas = model(tf.zeros([1, 1, 1, 1]))
    np.testing.assert_array_equal(deltas[0], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])


def test_mask_head_doubles_the_side():
    model = heads.mask_head(8, pool_size=14, convs=2, width=4, num_masks=3)
    assert model(tf.zeros([5, 14, 14, 8])).shape == (5, 28, 28, 3)


@pytest.mark.parametrize("convs", [1, 4])
def test_mask_head_has_as_many_convolutions_as_asked(convs):
    model = heads.mask_head(8, pool_size=2, convs=convs, width=4, num_masks=3)
    kernels = [v.shape for v in model.weights if v.name == "kernel"]
    assert sum(shape[0] == 3 for shape in kernels) == convs


def test_mask_head_treats_rois_independently():
    model = heads.mask_head(8, pool_size=2, convs=1, width=4, num_masks=3)
    rois = tf.random.normal([3, 2, 2, 8])
    np.testing.assert_allclose(model(rois)[1:2], model(rois[1:2]), atol=1e-6)


def test_box_head_without_layers_sees_the_average_of_the_roi():
    model = heads.box_head(8, pool_size=7, units=16, num_classes=3, layers=0)
    rois = tf.random.normal([2, 7, 7, 8])
    flat = tf.tile(tf.reduce_mean(rois, axis=[1, 2], keepdims=True), [1, 7, 7, 1])
    for first, second in zip(model(rois), model(flat), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("layers", [2, 3])
def test_mask_mlp_has_the_layers_of_table_2e(layers):
    model = heads.mask_mlp(8, pool_size=2, layers=layers, units=16, num_masks=3)
    assert model(tf.zeros([5, 2, 2, 8])).shape == (5, 4, 4, 3)
    kernels = [tuple(v.shape) for v in model.weights if v.name == "kernel"]
    assert kernels == [(2 * 2 * 8, 16), *[(16, 16)] * (layers - 1), (16, 4 * 4 * 3)]


def test_mask_mlp_sees_the_whole_roi():
    model = heads.mask_mlp(1, pool_size=4, layers=2, units=64, num_masks=1, init="torchvision")
    rois = np.zeros((1, 4, 4, 1), np.float32)
    before = model(rois).numpy()
    rois[0, 0, 0] = 1.0
    assert (model(rois).numpy() != before).all()


@pytest.mark.parametrize("layer", ["logits", "deltas"])
def test_rpn_head_outputs_are_drawn_with_deviation_001(layer):
    model = heads.rpn_head(256, num_anchors=3)
    assert np.std(model.get_layer(layer).kernel) == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(("layer", "deviation"), [("class_logits", 0.01), ("box_deltas", 0.001)])
def test_box_head_outputs_are_drawn_small(layer, deviation):
    model = heads.box_head(4, pool_size=1, units=256, num_classes=20)
    assert np.std(model.get_layer(layer).kernel) == pytest.approx(deviation, rel=0.1)


@pytest.mark.parametrize("layer", ["fc1", "class_logits", "box_deltas"])
def test_torchvisions_box_head_is_drawn_within_the_root_of_the_fan_in(layer):
    model = heads.box_head(4, pool_size=8, units=256, num_classes=20, init="torchvision")
    kernel = model.get_layer(layer).kernel.numpy()
    assert np.abs(kernel).max() == pytest.approx(256**-0.5, rel=0.01)


def test_torchvisions_mask_logits_are_drawn_by_their_fan_out():
    model = heads.mask_head(4, pool_size=2, convs=0, width=512, num_masks=8, init="torchvision")
    assert np.std(model.get_layer("logits").kernel) == pytest.approx(0.5, rel=0.1)
