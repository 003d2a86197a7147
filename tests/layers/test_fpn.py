import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.fpn import fpn

CHANNELS = {"c2": 1, "c3": 2, "c4": 3, "c5": 4}


def maps(height, width):
    return {
        name: tf.random.normal([1, height // 2**i, width // 2**i, channels])
        for i, (name, channels) in enumerate(CHANNELS.items())
    }


def set_identity_like(model):
    """Makes the lateral convolutions sum the channels, and the 3x3 convolutions copy them."""
    for level in (2, 3, 4, 5):
        lateral, output = model.get_layer(f"lateral{level}"), model.get_layer(f"output{level}")
        lateral.kernel.assign(tf.ones_like(lateral.kernel))
        kernel = np.zeros(output.kernel.shape, np.float32)
        kernel[1, 1] = np.eye(kernel.shape[2])
        output.kernel.assign(kernel)


def test_levels_have_the_sizes_of_the_maps_and_p6_half_of_p5():
    outputs = fpn(CHANNELS, channels=5)(maps(16, 24))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "p2": (1, 16, 24, 5),
        "p3": (1, 8, 12, 5),
        "p4": (1, 4, 6, 5),
        "p5": (1, 2, 3, 5),
        "p6": (1, 1, 2, 5),
    }


def test_levels_are_in_order():
    assert list(fpn(CHANNELS, channels=5).output) == ["p2", "p3", "p4", "p5", "p6"]


def test_p6_is_every_second_cell_of_p5():
    outputs = fpn(CHANNELS, channels=5)(maps(32, 40))
    np.testing.assert_array_equal(outputs["p6"], outputs["p5"][:, ::2, ::2])


def test_every_level_is_its_lateral_plus_the_doubled_level_above():
    model = fpn(CHANNELS, channels=1)
    set_identity_like(model)
    inputs = maps(16, 24)
    sums = {name: x.numpy().sum(axis=-1, keepdims=True) for name, x in inputs.items()}

    def double(x):
        return x.repeat(2, axis=1).repeat(2, axis=2)

    expected = {"p5": sums["c5"]}
    for level in (4, 3, 2):
        expected[f"p{level}"] = sums[f"c{level}"] + double(expected[f"p{level + 1}"])
    outputs = model(inputs)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5)


def test_finer_maps_do_not_reach_coarser_levels():
    model = fpn(CHANNELS, channels=5)
    inputs = maps(16, 24)
    changed = model({**inputs, "c2": inputs["c2"] + 1})
    outputs = model(inputs)
    np.testing.assert_array_equal(changed["p3"], outputs["p3"])
    assert not np.allclose(changed["p2"], outputs["p2"])


@pytest.mark.parametrize(("norm", "kinds"), [("", {"kernel", "bias"}), ("group", None)])
def test_norm_replaces_the_biases(norm, kinds):
    model = fpn(CHANNELS, channels=32, norm=norm)
    assert {v.name for v in model.weights} == (kinds or {"kernel", "gamma", "beta"})
