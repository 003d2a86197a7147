import keras
import pytest
from backbones.networks import residual

from keras_maskrcnn.backbones.tracing import trace


@pytest.fixture(scope="module")
def traced():
    return trace(residual(), 128)


def test_each_operation_is_a_step_with_the_shape_for_the_images(traced):
    shapes = {step.name: step.shape for step in traced.steps}
    assert shapes["conv2"] == (1, 32, 32, 4) and shapes["average"] == (1, 4)
    assert traced.steps[0].operation is None and traced.steps[0].shape == (1, 128, 128, 3)
    assert [traced.steps[n].name for n in traced.outputs] == ["classes"]


def test_steps_know_what_they_use(traced):
    number = {step.name: n for n, step in enumerate(traced.steps)}
    assert set(traced.steps[number["add2"]].sources) == {number["conv2"], number["drop2"]}
    assert traced.consumers(number["conv2"]) == sorted([number["bn2"], number["add2"]])
    assert {traced.steps[n].name for n in traced.ancestors(number["conv2"])} == {
        *("", "pixels", "stem_conv", "stem_bn", "conv2"),
    }


def test_networks_inside_of_a_network_are_opened_and_calls_told_apart():
    inner_in = keras.Input((None, None, 4))
    twice = keras.layers.Conv2D(4, 1, name="twice")
    inner = keras.Model(inner_in, twice(twice(inner_in)) + inner_in, name="inner")
    outer = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 1), inner])
    steps = trace(keras.Sequential([keras.Input((32, 32, 3)), outer]), 64).steps
    assert [step.operation.__class__.__name__ for step in steps[1:]] == [
        *("Conv2D", "Conv2D", "Conv2D", "Add"),
    ]
    assert steps[2].operation is steps[3].operation and steps[2].inside[-1] == "inner"
    assert steps[4].sources == (3, 1) and steps[4].shape == (1, 64, 64, 4)


def test_a_trace_leaves_the_network_as_it_was():
    network = residual()
    layer = network.get_layer("conv2")
    before = layer.output
    trace(network, 64)
    assert layer.output is before
