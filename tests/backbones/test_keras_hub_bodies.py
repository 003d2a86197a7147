import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
from backbones.hub_networks import keras_hub, randomized, tiny_vitdet

from keras_maskrcnn.backbones import build
from keras_maskrcnn.backbones import keras_hub_bodies as hub
from keras_maskrcnn.catalog import BACKBONES, PLAIN, RGB
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import preset_config

NAMES = [name for name, entry in BACKBONES.items() if entry.source == "keras_hub"]
IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
# Forms with few blocks, so that the tests are quick.
SMALL = {
    "resnet_vd_18": {"stackwise_num_blocks": [1, 1, 1, 1]},
    "csp_darknet_53": {
        "stem_filters": 8,
        "stackwise_depth": [1, 1, 1, 1, 1],
        "stackwise_num_filters": [8, 8, 16, 16, 16],
    },
    "csp_resnet_50": {
        "stem_filters": 8,
        "stackwise_depth": [1, 1, 1, 1],
        "stackwise_num_filters": [8, 16, 16, 16],
    },
}


def test_every_name_has_a_form_and_a_preset():
    assert set(hub.FORMS) == set(hub.PRESETS) == set(NAMES)
    for name in NAMES:
        cls = getattr(keras_hub.models, BACKBONES[name].builder)
        if name not in PLAIN:
            assert hub.PRESETS[name] in cls.presets


# How many weights the classifier has that KerasHub counts in its presets: classes, channels.
HEADS = {
    "resnet_vd": (1000, {18: 512, 34: 512, 50: 2048, 101: 2048}),
    "csp_darknet": (1000, 1024),
    "darknet": (1000, 1024),
    "csp_resnet": (1000, 1024),
    "csp_resnext": (1000, 2048),
    "mit": (10, {"b0": 256, "b1": 512, "b2": 512, "b3": 512}),
}
QUICK = ("resnet_vd_18", "mit_b0")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
        if name not in PLAIN
    ],
)
def test_a_form_has_as_many_weights_as_the_preset(name):
    """KerasHub counts a classifier too; for the networks from timm only trained weights."""
    preset = getattr(keras_hub.models, BACKBONES[name].builder).presets[hub.PRESETS[name]]
    network = hub.body(name)
    kind, _, size = name.rpartition("_")
    classes, channels = HEADS[kind]
    if isinstance(channels, dict):
        channels = channels[int(size) if size.isdigit() else size]
    from_timm = BACKBONES[name].builder == "CSPNetBackbone"
    weights = network.trainable_weights if from_timm else network.weights
    count = sum(int(np.prod(v.shape)) for v in weights if "seed" not in v.name)
    assert count + classes * (channels + 1) == preset["metadata"]["params"]


@pytest.mark.parametrize(
    "name",
    ["resnet_vd_18", "csp_darknet_53", pytest.param("csp_resnet_50", marks=pytest.mark.slow)],
)
def test_maps_are_those_of_keras_hub(monkeypatch, name):
    monkeypatch.setitem(hub.FORMS, name, {**hub.FORMS[name], **SMALL[name]})
    theirs = randomized(hub.body(name))
    config = MaskRCNNConfig(backbone=name, norm="batch", frozen_stages=2)
    backbone = hub.adopt(theirs, config)
    mean, std = np.float32(RGB)
    normalized = (IMAGES - mean) / std
    expected = keras.Model(theirs.input, theirs.pyramid_outputs)(normalized)
    expected = {x.shape[1]: np.asarray(x) for x in expected.values()}  # its names may be wrong
    found = backbone(normalized)
    assert (backbone.name, backbone.pixel_mean, backbone.pixel_std) == (name, *RGB)
    assert [x.shape[1:3] for x in found.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for level, value in found.items():
        wanted = expected[value.shape[1]]
        scale = max(1.0, np.abs(wanted).max())
        np.testing.assert_allclose(value / scale, wanted / scale, atol=1e-5, err_msg=level)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A preset of KerasHub in a folder, as its `save_to_preset` writes it, and its network."""
    network = tiny_vitdet()
    path = tmp_path_factory.mktemp("preset") / "vitdet"
    network.save_to_preset(str(path))
    return str(path), network


def test_weights_come_from_a_folder_of_keras_hub(monkeypatch, folder):
    path, network = folder
    form = {name: getattr(network, name) for name in hub.FORMS["vitdet_base"]}
    # Our windows have 14 cells, and the network's have 4.
    monkeypatch.setitem(hub.FORMS, "vitdet_base", {**form, "window_size": 4})
    config = preset_config("mask_rcnn_vitdet_base_simple_fpn")
    config = replace(config, image_min_side=96, image_max_side=96, padding_multiple=32)
    backbone = hub.published(config, path)
    images = np.random.default_rng(0).uniform(0, 1, (1, 96, 96, 3)).astype(np.float32)
    expected = keras.Model(network.input, network.layers[-2].output)(images)
    mean, std = np.float32(RGB) / 255
    found = backbone((images - mean) / std)["c4"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_weights_of_another_network_are_refused(folder):
    path, _ = folder
    config = preset_config("mask_rcnn_vitdet_base_simple_fpn")
    with pytest.raises(ValueError, match="a vitdet_base of KerasHub. Received: .'hidden_size': 16"):
        hub.published(config, path)
    with pytest.raises(ValueError, match="must be a resnet_vd_18 of KerasHub. Received: ViTDet"):
        hub.published(MaskRCNNConfig(backbone="resnet_vd_18"), path)


def test_weights_that_cannot_be_loaded_are_one_line(tmp_path):
    config = MaskRCNNConfig(backbone="resnet_vd_18")
    with pytest.raises(OSError, match="cannot be loaded. Offline, .*resnet_vd_18_imagenet") as info:
        hub.published(config, str(tmp_path / "nothing"))
    assert "\n" not in str(info.value) and len(str(info.value)) < 600


def test_a_missing_keras_hub_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=r"resnet_vd_18 needs .*keras3-maskrcnn\[keras-hub\]"):
        build(MaskRCNNConfig(backbone="resnet_vd_18"))


def test_transformers_are_built_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    monkeypatch.setitem(hub.FORMS["vitdet_base"], "num_layers", 1)
    monkeypatch.setitem(hub.FORMS["vitdet_base"], "hidden_size", 24)
    config = preset_config("mask_rcnn_vitdet_base_simple_fpn")
    smaller = replace(config, image_min_side=500, image_max_side=600, padding_multiple=32)
    for one, side in ((config, 1024), (smaller, 608)):
        assert hub.side_of(one) == side
        backbone = build(one)
        assert backbone.get_layer("positions").side == side // 16
        assert backbone.output["c4"].shape == (None, None, None, 24)


@pytest.mark.parametrize("neck", ["fpn", "c5"])
def test_vitdet_has_one_map_only(neck):
    with pytest.raises(ValueError, match="neck must be 'simple_fpn' with backbone='vitdet_base'"):
        MaskRCNNConfig(backbone="vitdet_base", neck=neck)


@pytest.mark.slow
def test_vitdet_base_finds_the_maps_of_one_image():
    backbone = build(preset_config("mask_rcnn_vitdet_base_simple_fpn"))
    # A block has 12 K² and 13 K numbers, and 27 or 127 relative positions per axis.
    blocks = 12 * (12 * 768**2 + 13 * 768) + 2 * 64 * (8 * 27 + 4 * 127)
    assert backbone.count_params() == blocks + 768 * (16 * 16 * 3 + 1) + 64 * 64 * 768
    found = backbone(np.zeros((1, 1024, 768, 3), np.float32))
    assert found["c4"].shape == (1, 64, 48, 768)
