import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.resnet import res5, resnet

STAGES = ("stem", "res2", "res3", "res4", "res5")


@functools.cache
def build(name):
    """Builds a network once for all tests, since it takes seconds; no test changes it."""
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


# torchvision's conv1 and bn1, layer1, ..., layer4. PyTorch counts statistics as buffers.
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("resnet18", (9_536, 147_968, 525_568, 2_099_712, 8_393_728)),
        ("resnet34", (9_536, 221_952, 1_116_416, 6_822_400, 13_114_368)),
        ("resnet50", (9_536, 215_808, 1_219_584, 7_098_368, 14_964_736)),
        ("resnet101", (9_536, 215_808, 1_219_584, 26_090_496, 14_964_736)),
        ("resnext50_32x4d", (9_536, 205_824, 1_197_056, 7_022_592, 14_544_896)),
        ("resnext101_32x8d", (9_536, 420_864, 2_405_376, 55_160_832, 28_745_728)),
    ],
)
def test_each_stage_has_as_many_parameters_as_torchvision_s(name, counts):
    kinds = ("kernel", "gamma", "beta")
    found = dict.fromkeys(STAGES, 0)
    for v in build(name).weights:
        assert v.name in (*kinds, "moving_mean", "moving_variance")
        if v.name in kinds:
            found[v.path.split("/")[0].split("_")[0]] += int(np.prod(v.shape))
    assert tuple(found.values()) == counts


def test_resnext_widens_the_grouped_convolution_only():
    model = build("resnext50_32x4d")
    shapes = [model.get_layer(f"res2_0_conv{i}").kernel.shape for i in (1, 2, 3)]
    assert shapes == [(1, 1, 64, 128), (3, 3, 4, 128), (1, 1, 128, 256)]


def test_a_dilated_res5_keeps_the_side():
    plain, dilated = (
        resnet("resnet18", norm="batch", frozen_stages=0, dilated=flag) for flag in (False, True)
    )
    names = [[(v.path, v.shape) for v in model.weights] for model in (plain, dilated)]
    assert names[0] == names[1]
    shapes = computed_shapes(dilated)
    assert shapes["c5"] == (1, 4, 6, 512) and shapes["c4"] == (1, 4, 6, 256)


@pytest.mark.parametrize("stride", [1, 2])
def test_res5_alone_is_the_last_stage(stride):
    whole = resnet("resnet50", width=8)
    alone = res5("resnet50", width=8, channels=128, size=14, stride=stride)
    last = [v for v in whole.weights if v.path.startswith("res5_")]
    assert [(v.path, v.shape) for v in last] == [(v.path, v.shape) for v in alone.weights]
    assert alone.output.shape == (None, 14 // stride, 14 // stride, 256)
    body = resnet("resnet50", width=8, last_stage=4)
    assert list(body.output) == ["c2", "c3", "c4"]
    if stride == 2:  # the backbone's stride
        alone.set_weights([v.numpy() for v in last])
        paths = {v.path for v in last}
        body.set_weights([v.numpy() for v in whole.weights if v.path not in paths])
        images = tf.random.normal([1, 224, 224, 3])
        expected = whole(images)["c5"]
        np.testing.assert_allclose(alone(body(images)["c4"]), expected, atol=1e-4)


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
    # Only the stem and the pooling act on c2: the maximum of 3 x 3 cells at every second cell.
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
