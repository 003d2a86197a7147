"""Each backbone of keras.applications that a config can name, and others that users have."""

import keras
import numpy as np
import pytest
from backbones.networks import normalized, perturbed, residual

from keras_maskrcnn import networks
from keras_maskrcnn.backbones import building, from_keras
from keras_maskrcnn.backbones.staging import stages_of
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.layers.frozen_norm import FrozenBatchNorm

APPS = keras.applications
SIDE = (96, 128)


def builder(name):
    return getattr(APPS, name)


# Builder of the network, and its own function for images in 0..255.
CASES = {
    "MobileNetV3Small": (builder("MobileNetV3Small"), APPS.mobilenet_v3.preprocess_input),
    "ConvNeXtTiny": (builder("ConvNeXtTiny"), APPS.convnext.preprocess_input),
}
SLOW = {
    "ConvNeXtSmall": APPS.convnext,
    "ConvNeXtBase": APPS.convnext,
    "DenseNet121": APPS.densenet,
    "EfficientNetB0": APPS.efficientnet,
    "EfficientNetV2B0": APPS.efficientnet_v2,
    "EfficientNetV2B1": APPS.efficientnet_v2,
    "EfficientNetV2B2": APPS.efficientnet_v2,
    "EfficientNetV2B3": APPS.efficientnet_v2,
    "EfficientNetV2S": APPS.efficientnet_v2,
    "InceptionResNetV2": APPS.inception_resnet_v2,
    "InceptionV3": APPS.inception_v3,
    "MobileNet": APPS.mobilenet,
    "MobileNetV2": APPS.mobilenet_v2,
    "MobileNetV3Large": APPS.mobilenet_v3,
    "NASNetMobile": APPS.nasnet,
    "ResNet50": APPS.resnet,
    "ResNet50V2": APPS.resnet_v2,
    "ResNet101": APPS.resnet,
    "VGG16": APPS.vgg16,
    "Xception": APPS.xception,
}
CASES |= {name: (builder(name), module.preprocess_input) for name, module in SLOW.items()}


def outputs_of(network, names):
    """The tensors of layers, also of those in networks inside of the network, as in ConvNeXt."""
    found, before = {}, None
    for operation in network.operations:
        if isinstance(operation, keras.Sequential):
            x = before.output
            for inner in operation.layers:
                x = found[inner.name] = inner(x)
        else:
            found[operation.name] = operation.output
        before = operation
    return {name: found[name] for name in names}


@pytest.mark.parametrize(
    "name", [pytest.param(x, marks=pytest.mark.slow if x in SLOW else ()) for x in CASES]
)
def test_maps_are_those_of_keras_for_the_same_pixels(name):
    build, preprocess = CASES[name]
    images = np.random.default_rng(0).uniform(0, 255, (1, *SIDE, 3)).astype(np.float32)
    body = build(weights=None, include_top=False, input_shape=(*SIDE, 3))
    perturbed(body, gamma=(0.4, 0.8))  # with larger ones, deep networks amplify rounding
    backbone = from_keras(body)
    found = backbone(normalized(backbone, images))
    expected = keras.Model(body.input, outputs_of(body, list(backbone.maps.values())))(
        preprocess(images.copy())
    )
    assert list(found) == ["c2", "c3", "c4", "c5"]
    for level, stride in zip(found, (4, 8, 16, 32), strict=True):
        ours, theirs = np.asarray(found[level]), np.asarray(expected[backbone.maps[level]])
        assert ours.shape[1:3] == (SIDE[0] // stride, SIDE[1] // stride)
        missing = np.subtract(ours.shape, theirs.shape)[1:3]  # of unpadded convolutions
        top, left = missing // 2
        ours = ours[:, top : top + theirs.shape[1], left : left + theirs.shape[2]]
        scale = np.abs(theirs).max()
        assert scale > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale, err_msg=level)


KERAS = [name for name, entry in BACKBONES.items() if entry.source == "keras"]


@pytest.mark.parametrize("name", [pytest.param(x, marks=pytest.mark.slow) for x in KERAS])
def test_a_name_of_the_catalog_has_the_pixels_of_its_network(name):
    """Also: every multiple of 32 will do, and a config's fields reach the network."""
    backbone = networks.build_backbone(MaskRCNNConfig(backbone=name, frozen_stages=1))
    assert (backbone.pixel_mean, backbone.pixel_std) == BACKBONES[name].normalization
    assert backbone.name == name
    for rows in (32, 96, 160):
        shapes = backbone.compute_output_shape((1, rows, 512, 3))
        for level, stride in (("c2", 4), ("c3", 8), ("c4", 16), ("c5", 32)):
            assert shapes[level][1:3] == (rows // stride, 512 // stride), (level, rows)
    stages = stages_of(backbone)
    assert list(stages) == ["stem", "c2", "c3", "c4", "c5"] and all(stages.values())
    norms = [x for x in backbone.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {type(x) for x in norms} <= {FrozenBatchNorm}
    rest = [x for x in stages["stem"] if x not in norms]
    assert not [x for x in rest if x.trainable_weights]
    assert all(x.trainable_weights for x in stages["c2"] if x not in norms)


def test_fields_of_the_config_reach_the_network(monkeypatch):
    monkeypatch.setattr(building, "body", lambda name: residual())
    config = MaskRCNNConfig(
        backbone="mobilenetv2",
        in_channels=5,
        norm="batch",
        frozen_stages=2,
        stochastic_depth=0.5,
    )
    backbone = building.build(config)
    assert backbone.name == "mobilenetv2" and backbone.input.shape[-1] == 5
    assert not backbone.get_layer("conv2").trainable and backbone.get_layer("bn3").trainable
    assert backbone.get_layer("drop5").rate == 0.5
    one = building.build(MaskRCNNConfig(backbone="mobilenetv2", in_channels=1))
    assert one.input.shape[-1] == 3  # the band is repeated
