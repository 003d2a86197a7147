import types

import h5py
import keras
import numpy as np
import pytest
from backbones.networks import perturbed, photo, residual

import keras_maskrcnn as mrcnn
from keras_maskrcnn.backbones import building
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.weights import CheckpointError, published, untrained

NAME = "mobilenetv3_large"
TINY = dict(fpn_channels=8, box_head_units=8, mask_head_channels=8, mask_head_convs=1)


def tiny_network(weights=None, include_top=False, input_shape=None):
    """Stands in for a builder of keras.applications, to save time."""
    network = residual(name="tiny")
    if not include_top:
        network = keras.Model(network.input, network.get_layer("add5").output, name="tiny")
    if weights == "imagenet":
        network.load_weights(keras.utils.get_file("tiny_notop.h5", "https://x/tiny_notop.h5"))
    return network


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(BACKBONES, NAME, BACKBONES[NAME]._replace(builder="Tiny"))
    monkeypatch.setattr(keras.applications, "Tiny", tiny_network, raising=False)


@pytest.fixture(scope="module")
def trained():
    return perturbed(tiny_network(), seed=1)


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    trained.save_weights(path)
    return path


def write_legacy(network, path):
    """Writes a file as those that Keras publishes."""
    with h5py.File(path, "w") as file:
        keras.src.legacy.saving.legacy_h5_format.save_weights_to_hdf5_group(file, network)


def model(**fields):
    config = MaskRCNNConfig(backbone=NAME, **fields)
    return types.SimpleNamespace(config=config, backbone=building.build(config))


def load(made, weights):
    loaded = published.read_backbone(made.config, weights)
    return published.copy_backbone(made, loaded, weights)


def difference(backbone, network, images):
    """Largest difference of c5, for normalized images, from the output of the network."""
    expected = network(photo())
    return np.abs(backbone(images)["c5"] - expected).max() / np.abs(expected).max()


def pixels(made, images):
    config = made.config
    return (images - np.float32(config.pixel_mean)) / np.float32(config.pixel_std)


def test_files_of_keras_are_loaded_in_both_layouts(trained, file, tmp_path):
    made = model()
    before = difference(made.backbone, trained, pixels(made, photo()))
    matched = load(made, file)
    assert len(matched) == len(made.backbone.weights) and before > 1e-2
    assert difference(made.backbone, trained, pixels(made, photo())) < 1e-5
    write_legacy(trained, tmp_path / "small_notop.h5")
    again = model(norm="batch")
    load(again, tmp_path / "small_notop.h5")
    for ours, theirs in zip(again.backbone.weights, made.backbone.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def test_a_file_with_a_classifier_is_loaded_too(tmp_path):
    whole = perturbed(tiny_network(include_top=True), seed=2)
    whole.save_weights(tmp_path / "whole.weights.h5")
    made = model()
    load(made, tmp_path / "whole.weights.h5")
    network = keras.Model(whole.input, whole.get_layer("add5").output)
    assert difference(made.backbone, network, pixels(made, photo())) < 1e-5


@pytest.mark.slow
def test_convnext_with_a_classifier_gives_its_last_norm_to_the_map(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, NAME, BACKBONES["convnext_tiny"])
    depths = dict(depths=(1, 1, 2, 1), projection_dims=(4, 8, 16, 32))

    def tiny_convnext(**arguments):
        convnext = keras.src.applications.convnext.ConvNeXt
        return convnext(**depths, name="convnext_tiny", weights_name="convnext_tiny", **arguments)

    monkeypatch.setattr(keras.applications, "ConvNeXtTiny", tiny_convnext)
    whole = perturbed(building.body(NAME, classifier=True), seed=2)
    bare = building.body(NAME)
    scales = [v for v in whole.weights if len(v.shape) == 1 and v.name.startswith("variable")]
    for i, scale in enumerate(scales):  # of the branches, which are 1e-6 at first
        scale.assign(np.full(scale.shape, 0.5 + 0.1 * i))
    for ours, theirs in zip(bare.weights, whole.weights[: len(bare.weights)], strict=True):
        ours.assign(theirs)
    write_legacy(whole, tmp_path / "whole.h5")
    made = model()
    load(made, tmp_path / "whole.h5")
    images = photo(224)[:, :, :224]
    found = made.backbone(pixels(made, images))["c5"]
    np.testing.assert_allclose(found, bare(images), atol=1e-4)
    assert len(scales) == 5
    np.testing.assert_array_equal(made.backbone.weights[-2], whole.layers[-2].weights[0])


def test_weights_fit_images_of_other_bands(trained, file):
    made = model(in_channels=4)
    load(made, file)
    repeated = pixels(made, photo()[..., [0, 1, 2, 0]])
    assert difference(made.backbone, trained, repeated) < 1e-5


def test_imagenet_weights_are_what_the_builder_of_keras_downloads(trained, file, monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda name, origin: file)
    made = model()
    load(made, "imagenet")
    assert difference(made.backbone, trained, pixels(made, photo())) < 1e-5
    assert untrained.advice({"backbone": made.backbone}) == ""


def test_without_a_network_one_line_says_what_to_do(monkeypatch):
    def offline(name, origin):
        raise Exception(f"URL fetch failure on {origin}: None --\nno route")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    words = r"of Tiny cannot be .*https://x/tiny_notop.h5.*pass its path as `weights`\.$"
    with pytest.raises(CheckpointError, match=words) as e:
        mrcnn.MaskRCNN.from_preset(f"mask_rcnn_{NAME}_fpn", weights="imagenet")
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_keras_own_builder_downloads_for_a_preset(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, NAME, BACKBONES[NAME]._replace(builder="MobileNetV3Small"))
    build = keras.applications.MobileNetV3Small
    network = perturbed(build(weights=None, include_top=False, input_shape=(64, 96, 3)))
    network.save_weights(tmp_path / "small.weights.h5")
    asked = []

    def get_file(name, origin=None, **arguments):
        asked.append(name)
        return str(tmp_path / "small.weights.h5")

    monkeypatch.setattr(keras.src.utils.file_utils, "get_file", get_file)
    preset = f"mask_rcnn_{NAME}_fpn"
    loaded = mrcnn.MaskRCNN.from_preset(preset, weights="imagenet", num_classes=2, **TINY)
    assert len(asked) == 1 and asked[0].endswith("_no_top_v2.h5")
    assert difference(loaded.backbone, network, pixels(loaded, photo())) < 1e-5
    assert loaded.config.pixel_mean == (127.5,) * 3 and not loaded.config.stride_in_1x1


def test_files_that_do_not_fit_are_refused_and_change_nothing(file, tmp_path):
    made = model()
    before = [np.array(v) for v in made.backbone.weights]
    other = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(3, 3)])
    other.save_weights(tmp_path / "other.weights.h5")
    bad = building.body(NAME)
    values = bad.get_layer("conv2").get_weights()
    values[0][0, 0, 0, 0] = np.nan
    bad.get_layer("conv2").set_weights(values)
    bad.save_weights(tmp_path / "bad.weights.h5")
    (tmp_path / "text.h5").write_text("no weights")
    (tmp_path / "x.pth").touch()
    for name, words in (
        ("other.weights.h5", "other.weights.h5 does not fit keras.applications.Tiny"),
        ("bad.weights.h5", "weights must be finite"),
        ("text.h5", "text.h5 does not fit"),
        ("x.pth", f"weights of {NAME} must be 'imagenet' or an .h5 file"),
    ):
        with pytest.raises(CheckpointError, match=words) as e:
            load(made, tmp_path / name)
        assert "\n" not in str(e.value)
    assert all(
        (np.asarray(v) == x).all() for v, x in zip(made.backbone.weights, before, strict=True)
    )
    preset = f"mask_rcnn_{NAME}_fpn"
    with pytest.raises(CheckpointError, match="no such file"):
        mrcnn.MaskRCNN.from_preset(preset, weights=str(tmp_path / "missing.h5"))
    with pytest.raises(ValueError, match="'imagenet' or a path for a backbone of Keras"):
        mrcnn.MaskRCNN.from_preset(preset, weights="coco")


def test_files_of_networks_are_told_from_those_of_our_models(file, tmp_path):
    with h5py.File(tmp_path / "ours.weights.h5", "w") as ours:
        ours.create_group("backbone")
    assert published.is_for_backbone(file, NAME)
    assert not published.is_for_backbone(file, "resnet50")
    assert not published.is_for_backbone(tmp_path / "ours.weights.h5", NAME)
    assert not published.is_for_backbone(tmp_path / "model.keras", NAME)
    assert published.is_for_backbone(tmp_path, NAME)  # a preset of KerasHub


def test_fields_of_imagenet_are_for_our_resnets_only():
    fields = mrcnn.weights.imagenet_fields("mask_rcnn_resnet50_fpn", {"in_channels": 2})
    assert fields["stride_in_1x1"] and len(fields["pixel_mean"]) == 2
    assert mrcnn.weights.imagenet_fields(f"mask_rcnn_{NAME}_fpn", {}) == {}
    assert mrcnn.weights.imagenet_fields("mask_rcnn_resnet50_fpn", {"backbone": NAME}) == {}
