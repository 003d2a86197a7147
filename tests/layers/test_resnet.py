import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.resnet import resnet

STAGES = ("stem", "res2", "res3", "res4", "res5")


@functools.cache
def build(name):
    """Building takes seconds; no test changes what it gets here."""
    return resnet(name, norm="batch", frozen_stages=0)


def computed_shapes(model):
    specs = model.compute_output_spec(keras.KerasTensor((1, 64, 96, 3)))
    return {key: spec.shape for key, spec in specs.items()}


@pytest.mark.parametrize(("name", "c2"), [("resnet18", 64), ("resnet50", 256)])
def test_stages_halve_the_side_and_double_the_channels(name, c2):
    assert computed_shapes(build(name)) == {
        "c2": (1, 16, 24, c2),
        "c3": (1, 8, 12, 2 * c2),
        "c4": (1, 4, 6, 4 * c2),
        "c5": (1, 2, 3, 8 * c2),
    }


def test_computed_shapes_are_the_outputs_shapes():
    model = build("resnet18")
    outputs = model(tf.zeros([1, 64, 96, 3]))
    assert {key: tuple(x.shape) for key, x in outputs.items()} == computed_shapes(model)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("resnet18", 11_176_512),
        ("resnet34", 21_284_672),
        ("resnet50", 23_508_032),
        ("resnet101", 42_500_160),
    ],
)
def test_parameters_are_as_many_as_torchvision_s_without_fc(name, count):
    model = build(name)
    kinds = ("kernel", "gamma", "beta")  # torch counts moving statistics as buffers
    assert {v.name for v in model.weights} == {*kinds, "moving_mean", "moving_variance"}
    assert sum(np.prod(v.shape) for v in model.weights if v.name in kinds) == count


@pytest.mark.parametrize("frozen_stages", [0, 1, 2, 5])
def test_frozen_stages_are_the_first_ones(frozen_stages):
    model = resnet("resnet18", norm="batch", frozen_stages=frozen_stages)
    trained = {v.path.split("/")[0].split("_")[0] for v in model.trainable_variables}
    assert trained == set(STAGES[frozen_stages:])


def test_frozen_batch_norm_leaves_only_kernels_trainable():
    model = resnet("resnet18", norm="frozen_batch", frozen_stages=0)
    # The stem, 16 convolutions in 8 blocks, and a shortcut in each of res3, res4, res5.
    assert [v.name for v in model.trainable_variables] == ["kernel"] * (1 + 16 + 3)


def test_frozen_stages_do_not_change_in_training():
    model = resnet("resnet18", norm="batch", frozen_stages=2)
    before = {v.path: v.numpy() for v in model.weights}
    model(tf.random.normal([1, 32, 32, 3]) + 3.0, training=True)
    changed = {v.path.split("_")[0] for v in model.weights if not np.array_equal(before[v.path], v)}
    assert changed == {"res3", "res4", "res5"}


@pytest.mark.parametrize(("same", "pad"), [(False, [1, 1]), (True, [0, 1])])
def test_a_zeroed_last_norm_makes_every_block_the_identity(same, pad):
    # What is left of c2 are the stem and the pooling: the maximum of 3 x 3 at every second cell.
    model = resnet("resnet18", norm="batch", frozen_stages=0, pool_same=same)
    for v in model.weights:
        if "_conv2/norm/gamma" in v.path:
            v.assign(tf.zeros_like(v))
    images = tf.random.normal([1, 32, 48, 3])
    stem = model.get_layer("stem")(images)
    pooled = tf.nn.max_pool2d(stem, 3, 2, [[0, 0], pad, pad, [0, 0]])
    assert not same or np.array_equal(pooled, tf.nn.max_pool2d(stem, 3, 2, "SAME"))
    np.testing.assert_allclose(model(images)["c2"], pooled, atol=1e-6)


def test_bottlenecks_stride_in_the_3x3_convolution():
    strides = [build("resnet50").get_layer(f"res3_0_conv{i}").strides for i in (1, 2, 3)]
    assert strides == [1, 2, 1]


def test_res2_does_not_stride():
    assert build("resnet18").get_layer("res2_0_conv1").strides == 1
