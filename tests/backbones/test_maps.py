import keras
import pytest
from backbones.networks import residual

from keras_maskrcnn.backbones import maps
from keras_maskrcnn.backbones.tracing import trace

LAYERS = keras.layers


def names(traced, numbers):
    return {name: traced.steps[number].name for name, number in numbers.items()}


def found_in(network):
    traced = trace(network, maps.SIDE, network.inputs[0].shape[-1])
    return names(traced, maps.find_maps(traced))


def test_the_last_whole_map_of_each_stride_is_found():
    assert found_in(residual()) == {"c2": "add2", "c3": "add3", "c4": "add4", "c5": "add5"}
    assert found_in(residual(stages=2)) == {"c2": "add2", "c3": "add3"}


def test_a_branch_and_a_padded_map_are_no_maps():
    """As in ResNet50V2 and MobileNetV2, whose last layers before a stride are such ones."""
    images = keras.Input((None, None, 3))
    x = LAYERS.Conv2D(4, 3, 4, padding="same", name="patches")(images)
    x = LAYERS.Conv2D(4, 1, name="block")(x)
    branch = LAYERS.Conv2D(4, 1, name="branch")(x)
    branch = LAYERS.Conv2D(4, 3, 2, padding="same")(branch)
    x = LAYERS.Add(name="joined")([branch, LAYERS.MaxPooling2D(1, 2)(x)])
    x = LAYERS.ZeroPadding2D(((0, 1), (0, 1)), name="padded")(x)
    x = LAYERS.Conv2D(4, 3, 2, name="last")(x)
    expected = {"c2": "block", "c3": "joined", "c4": "last"}
    assert found_in(keras.Model(images, x)) == expected


def test_without_a_whole_map_the_join_of_most_layers_is_taken():
    """As in NASNet, whose blocks use the outputs of the two blocks before them."""
    images = keras.Input((None, None, 3))
    x = before = LAYERS.Conv2D(4, 3, 4, padding="same")(images)
    for i in range(3):
        before, x = x, LAYERS.Add(name=f"add{i}")([before, LAYERS.Conv2D(4, 1)(x)])
    side = LAYERS.Concatenate(name="side")([before, before])
    halves = [LAYERS.MaxPooling2D(2)(tensor) for tensor in (x, side)]
    network = keras.Model(images, LAYERS.Concatenate(name="end")(halves))
    assert found_in(network) == {"c2": "add2", "c3": "end"}


def test_unpadded_convolutions_do_not_hide_a_stride():
    images = keras.Input((None, None, 3))
    x = LAYERS.Conv2D(4, 3, 2)(images)
    x = LAYERS.Conv2D(4, 3, name="c")(x)
    x = LAYERS.Conv2D(4, 3, 2, name="d")(x)
    assert found_in(keras.Model(images, LAYERS.Conv2D(4, 3, 2, name="e")(x))) == {
        **{"c2": "d", "c3": "e"},
    }


def test_a_network_without_maps_is_refused_with_what_it_has():
    images = keras.Input((None, None, 3))
    network = keras.Model(images, LAYERS.Conv2D(4, 3, 3, padding="same")(images))
    with pytest.raises(ValueError, match=r"strides 4, 8.*Received: \[512, 171\] rows"):
        found_in(network)


def test_maps_are_chosen_by_names_of_layers():
    traced = trace(residual(), 256)
    for wanted in (["conv3", "relu2"], {"c2": "relu2", "c3": "conv3"}):
        chosen = names(traced, maps.chosen_maps(traced, wanted))
        assert chosen == {"c2": "relu2", "c3": "conv3"}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (["conv9"], r"maps must be names of layers.*conv9"),
        (["conv3", "add3"], r"different strides.*two of stride 8, 'conv3' and 'add3'"),
        ({"c2": "add3"}, r"maps must have the strides.*{'c2': 'add3'}, which are {'c3': 'add3'}"),
        (["stem_conv"], r"maps must have strides 4, 8, 16 or 32.*stem_conv.*256"),
    ],
)
def test_wrong_names_are_refused(wanted, message):
    with pytest.raises(ValueError, match=message):
        traced = trace(residual(), 256)
        maps.chosen_maps(traced, wanted)


def of_stages(network):
    traced = trace(network, 256)
    found = maps.stages(traced, maps.find_maps(traced))
    return {
        stage: [
            traced.steps[n].name
            for n in numbers
            if getattr(traced.steps[n].operation, "weights", 0)
        ]
        for stage, numbers in found.items()
    }


def test_stages_end_at_the_maps():
    assert of_stages(residual(stages=3)) == {
        "stem": ["stem_conv", "stem_bn"],
        "c2": ["conv2", "bn2"],
        "c3": ["conv3", "bn3"],
        "c4": ["conv4", "bn4"],
    }


def test_the_stem_of_a_network_without_stride_2_ends_where_the_network_first_forks():
    """As in ConvNeXt, whose first convolution has stride 4."""
    images = keras.Input((None, None, 3))
    x = LAYERS.Conv2D(4, 4, 4, name="patches")(images)
    x = LAYERS.LayerNormalization(name="norm")(x)
    x = LAYERS.Add()([x, LAYERS.Conv2D(4, 1, name="block")(x)])
    assert of_stages(keras.Model(images, x)) == {"stem": ["patches", "norm"], "c2": ["block"]}


def test_a_network_for_one_size_is_followed_at_this_size():
    images = keras.Input((64, 64, 3))
    x = LAYERS.Conv2D(4, 4, 4, name="patches")(images)
    x = LAYERS.Reshape((16, 16, 4), name="map")(LAYERS.Flatten()(x))
    traced, side = maps.trace_at(keras.Model(images, x))
    assert side == 64 and names(traced, maps.find_maps(traced)) == {"c2": "map"}
    assert maps.trace_at(residual())[1] is None
