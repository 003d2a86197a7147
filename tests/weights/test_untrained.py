import keras
import pytest
from backbones.networks import perturbed, residual

from keras_maskrcnn.backbones import from_keras
from keras_maskrcnn.layers.conv import ConvNorm
from keras_maskrcnn.weights.untrained import advice, frozen_at_random


def network(norm, trainable=True):
    """Makes a network of a stem and a block; the stem may be frozen."""
    images = keras.Input((None, None, 3))
    x = ConvNorm(4, 1, norm=norm, trainable=trainable, name="stem")(images)
    return keras.Model(images, ConvNorm(4, 1, norm=norm, name="res2_0_conv1")(x))


@pytest.mark.parametrize(
    ("norm", "trainable", "stages", "norms"),
    [
        ("batch", True, [], []),
        ("batch", False, ["backbone:stem"], []),
        ("", False, ["backbone:stem"], []),
        ("frozen_batch", True, [], ["backbone"]),
        ("frozen_batch", False, ["backbone:stem"], ["backbone"]),
    ],
)
def test_what_is_fixed_as_it_was_drawn_is_found(norm, trainable, stages, norms):
    found = frozen_at_random({"backbone": network(norm, trainable)})
    assert list(found) == [stages, norms]


def test_advice_ends_once_weights_are_loaded():
    backbone = network("frozen_batch", trainable=False)
    line = advice({"backbone": backbone})
    assert line.startswith("backbone:stem are frozen with random weights, and the frozen batch")
    for variable in backbone.weights:
        variable.assign(variable + 0.1)
    assert advice({"backbone": backbone}) == ""


@pytest.mark.parametrize(
    ("norm", "frozen_stages", "stages", "norms"),
    [
        ("batch", 0, [], []),
        ("batch", 2, ["backbone:stem", "backbone:c2"], []),
        ("frozen_batch", 1, ["backbone:stem"], ["backbone"]),
        ("frozen_batch", 5, [f"backbone:{x}" for x in ("stem", "c2", "c3")], []),
    ],
)
def test_stages_of_a_backbone_of_keras_are_those_of_its_maps(norm, frozen_stages, stages, norms):
    body = keras.models.clone_model(residual(stages=2))  # with new weights
    backbone = from_keras(body, norm=norm, frozen_stages=frozen_stages)
    assert list(frozen_at_random({"backbone": backbone})) == [stages, norms]
    assert frozen_at_random({"backbone": perturbed(backbone)}) == ([], [])
