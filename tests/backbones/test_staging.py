import keras
from backbones.networks import residual

from keras_maskrcnn.backbones import from_keras, staging
from keras_maskrcnn.layers.resnet import resnet


def names(stages):
    return {stage: [layer.name for layer in layers] for stage, layers in stages.items()}


def test_a_backbone_of_keras_has_stages_between_its_maps():
    backbone = from_keras(residual(stages=3))
    expected = {"stem": ["stem_conv", "stem_bn"]}
    expected |= {f"c{i}": [f"conv{i}", f"bn{i}"] for i in (2, 3, 4)}
    assert names(staging.stages_of(backbone)) == expected
    again = keras.Model.from_config(backbone.get_config())
    assert names(staging.stages_of(again)) == expected
    assert not staging.has_our_layers(backbone)


def test_unpadded_networks_have_the_same_stages_before_and_after():
    """As Xception. The layer that adds cells to c2 gets the images, too."""
    layers = keras.layers
    images = keras.Input((None, None, 3))
    x = stem = layers.Conv2D(2, 3, 2, name="stem")(images)
    x = layers.Conv2D(2, 3, padding="same", name="branch")(x)
    x = layers.Add()([layers.Conv2D(2, 3, 2, name=name)(y) for name, y in (("a", x), ("b", stem))])
    backbone = from_keras(keras.Model(images, x), preprocess=lambda x: x, frozen_stages=1)
    stages = names(staging.stages_of(backbone))
    assert stages["stem"] == ["stem"] and set(stages["c2"]) == {"a", "b", "branch"}
    assert "c2_fit" in [layer.name for layer in backbone.layers]
    assert [x.name for x in backbone.layers if x.weights and not x.trainable_weights] == ["stem"]


def test_stages_of_a_resnet_have_two_names():
    backbone = resnet("resnet18", width=8)
    by_stride, by_name = staging.stages_of(backbone), staging.stages_by_name(backbone)
    for stride, name in (("stem", "stem"), *((f"c{i}", f"res{i}") for i in (2, 3, 4, 5))):
        assert {x.name for x in by_stride[stride]} == {x.name for x in by_name[name]}
    assert staging.has_our_layers(backbone)


def test_other_networks_have_no_stages_by_stride():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, name="a_1")(images)
    for outputs in (x, {"p2": x}):
        network = keras.Model(images, outputs)
        assert staging.stages_of(network) == {}
        assert names(staging.stages_by_name(network)) == {"a": ["a_1"]}
