"""A model of N bands gives for bands that repeat what the RGB model gives for R, G and B."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from parity import peer_weights

import keras_maskrcnn as mrcnn
from keras_maskrcnn import MaskRCNN
from keras_maskrcnn.weights import CheckpointError, start_from
from keras_maskrcnn.weights.bands import expected_numbers, first_kernel, fit_kernel

RGB = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), np.uint8)
GRAY = RGB[..., :1]
EQUAL = {"pixel_mean": (110.0,) * 3, "pixel_std": (57.0,) * 3}
SMALL = {"backbone_width": 8, "task": "proposals", "norm": "batch"}


@pytest.fixture(scope="module")
def rgb(tiny_config):
    """A model of RGB images with random norms."""
    return shaken(MaskRCNN(dataclasses.replace(tiny_config, **SMALL)))


@pytest.fixture(scope="module")
def gray(tiny_config):
    """A model of RGB images with equal means and stds."""
    return shaken(MaskRCNN(dataclasses.replace(tiny_config, **SMALL, **EQUAL)))


def shaken(model):
    rng = np.random.default_rng(0)
    model.set_weights([w + rng.uniform(0, 0.1, w.shape) for w in model.get_weights()])
    return model


def of_bands(source, channels, mean=(), std=()):
    """A model like `source`, of other bands, with new weights."""
    fields = {"in_channels": channels, "pixel_mean": mean, "pixel_std": std}
    return MaskRCNN(dataclasses.replace(source.config, **fields))


def assert_same_features(model, images, source, expected):
    """Compares the pyramids of both models, relative to their largest value."""
    found, wanted = (m.features(m.prepare(x)) for m, x in ((model, images), (source, expected)))
    for level, value in wanted.items():
        atol = 1e-5 * np.abs(value).max()
        np.testing.assert_allclose(found[level], value, atol=atol, err_msg=level)


@pytest.mark.parametrize("channels", [4, 5, 6, 12])
def test_an_image_whose_bands_repeat_is_seen_as_rgb(rgb, channels, caplog):
    model = of_bands(rgb, channels)
    assert start_from(model, rgb, "rgb.keras") == []
    line = f"its first kernel, backbone/stem/kernel, was adapted to {channels} bands."
    assert caplog.messages == [f"rgb.keras is of RGB images: {line}"]
    assert_same_features(model, np.tile(RGB, 4)[..., :channels], rgb, RGB)


def test_one_band_with_three_numbers_is_to_the_bit_its_rgb_copy(rgb, caplog):
    model = of_bands(rgb, 1)
    assert start_from(model, rgb, "rgb.keras") == [] and not caplog.messages
    assert model.backbone.input.shape[-1] == 3
    found = model.features(model.prepare(GRAY))
    for level, value in rgb.features(rgb.prepare(np.tile(GRAY, 3))).items():
        np.testing.assert_array_equal(found[level], value)


@pytest.mark.parametrize("channels", [1, 2])
def test_few_bands_share_the_sum_of_the_kernels(gray, channels):
    numbers = {"mean": (110.0,) * channels, "std": (57.0,) * channels}
    model = of_bands(gray, channels, **numbers)
    start_from(model, gray, "gray.keras")
    assert model.backbone.input.shape[-1] == channels
    assert_same_features(model, np.tile(GRAY, channels), gray, np.tile(GRAY, 3))


def test_a_file_of_weights_is_adapted_as_its_model_is(rgb, tmp_path, caplog):
    path = str(tmp_path / "rgb.weights.h5")
    rgb.save_weights(path)
    model, other = of_bands(rgb, 5), of_bands(rgb, 5)
    assert start_from(model, path, path) == start_from(other, rgb, "rgb.keras") == []
    assert "rgb.weights.h5 is of RGB images: its first kernel" in caplog.text
    for found, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    again = of_bands(rgb, 5)
    again.load_weights(save(model, tmp_path / "five.weights.h5"))  # its own are not adapted
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def save(model, path):
    model.save_weights(path)
    return path


def test_only_weights_of_rgb_images_are_adapted(rgb, tmp_path):
    five = of_bands(rgb, 5)
    path = save(five, tmp_path / "five.weights.h5")
    for source in (five, str(path)):
        with pytest.raises(CheckpointError, match="Received: backbone/stem/kernel "):
            start_from(of_bands(rgb, 4), source, "five")
    with pytest.raises(CheckpointError, match="Received: backbone/stem/kernel of shape"):
        start_from(rgb, five, "five")


def test_numbers_of_other_bands_are_told_if_they_are_not_those_of_rgb(rgb, caplog):
    start_from(of_bands(rgb, 4, std=(1.0,) * 4), rgb, "rgb.keras")
    assert "another pixel_std" in caplog.text and "another pixel_mean" not in caplog.text
    assert expected_numbers((1.0, 2.0, 6.0), 1) == (3.0,)
    assert expected_numbers((1.0, 2.0), 4) == (1.0, 2.0)


def test_kernels_of_other_sizes_do_not_fit():
    kernel = np.zeros((7, 7, 3, 8), np.float32)
    assert fit_kernel(kernel, (7, 7, 5, 8), None).shape == (7, 7, 5, 8)
    for shape in ((3, 3, 5, 8), (7, 7, 5, 16), (7, 7, 3, 8)):
        assert fit_kernel(kernel, shape, None) is None
    assert fit_kernel(None, (7, 7, 5, 8), None) is None


@pytest.mark.parametrize(
    "peer",
    [
        "torchvision",
        pytest.param("detectron2", marks=pytest.mark.slow),
        pytest.param("matterport", marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_of_a_peer_is_adapted(peer, tmp_path, capsys, matterport_file):
    path = matterport_file if peer == "matterport" else tmp_path / "model.npz"
    if peer != "matterport":
        np.savez(path, **peer_weights(f"fpn_{peer}"))
    tiny = {"num_classes": 4, "backbone_width": 8, "fpn_channels": 32, "box_head_units": 64}
    tiny |= {"rpn_head_channels": 64} if peer == "matterport" else {}
    models = [
        mrcnn.MaskRCNN.from_preset(
            f"mask_rcnn_resnet50_fpn_{peer}",
            **{**tiny, "mask_head_channels": 32, "image_min_side": 64, "image_max_side": 96},
            in_channels=channels,
        )
        for channels in (3, 5)
    ]
    reports = [mrcnn.weights.LOADERS[peer](model, path) for model in models]
    assert [report.adapted for report in reports] == [(), ("backbone/stem/kernel",)]
    assert not reports[1].missing and reports[0].matched == reports[1].matched
    line = "adapted backbone/stem/kernel from RGB to the bands of the model"
    assert line in str(reports[1]) and capsys.readouterr().out.count(line) == 1
    assert_same_features(models[1], RGB[..., [0, 1, 2, 0, 1]], models[0], RGB)


def test_a_backbone_without_a_convolution_of_keras_has_no_first_kernel():
    images = tf.keras.Input((None, None, 5))
    assert first_kernel(type("Model", (), {"backbone": tf.keras.Model(images, images)})) is None
