import json
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import whole_life
from backbones.hub_networks import randomized

from keras_maskrcnn.backbones import from_keras
from keras_maskrcnn.backbones.transformers import mit, vitdet
from keras_maskrcnn.layers.residual import StochasticDepth
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.training import Recipe

MIT = dict(
    hidden_dims=[8, 8, 16, 16],
    layerwise_depths=[1, 1, 1, 1],
    layerwise_num_heads=[1, 2, 2, 4],
    layerwise_sr_ratios=[8, 4, 2, 1],
    layerwise_patch_sizes=[7, 3, 3, 3],
    layerwise_strides=[4, 2, 2, 2],
)


def tiny_vitdet(side, layers=2):
    return vitdet(
        side=side,
        hidden_size=16,
        num_layers=layers,
        intermediate_dim=32,
        num_heads=2,
        global_attention_layer_indices=[1],
        window_size=2,
    )


def unchanged(images):
    return images


def test_a_smaller_image_of_vitdet_is_one_in_a_corner():
    """In windows, the corner does not see what is beside it."""
    network = randomized(tiny_vitdet(96, layers=1))
    images = np.random.default_rng(1).normal(size=(1, 96, 96, 3)).astype(np.float32)
    found, corner = network(images), network(images[:, :64, :32])
    np.testing.assert_allclose(corner, found[:, :4, :2], atol=1e-5)


def test_mit_takes_images_that_are_no_squares():
    """Their transpose, through transposed kernels, gives the transposed maps."""
    network, other = randomized(mit(**MIT)), mit(**MIT)
    for variable, value in zip(other.weights, network.weights, strict=True):
        array = np.array(value)
        square = array.ndim == 4  # kernels of convolutions
        variable.assign(array.transpose(1, 0, 2, 3) if square else array)
    images = np.random.default_rng(1).normal(size=(1, 64, 128, 3)).astype(np.float32)
    found, expected = other(images.transpose(0, 2, 1, 3)), network(images)
    assert [x.shape[1:3] for x in expected] == [(16, 32), (8, 16), (4, 8), (2, 4)]
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, np.transpose(two, (0, 2, 1, 3)), atol=1e-4)


@pytest.mark.parametrize("network", [tiny_vitdet(64, 3), mit(**MIT)], ids=["vitdet", "mit"])
def test_both_branches_of_a_block_are_dropped_at_a_rate_that_rises(network):
    backbone = from_keras(network, preprocess=unchanged, stochastic_depth=0.4)
    rates = [x.rate for x in backbone.layers if isinstance(x, StochasticDepth)]
    blocks = len(rates) // 2
    np.testing.assert_allclose(rates, np.repeat(np.linspace(0, 0.4, blocks), 2), atol=1e-9)


def test_stages_of_vitdet_are_its_embedding_and_its_blocks():
    network = tiny_vitdet(64)
    counts = []
    for frozen in (0, 1, 4):
        backbone = from_keras(network, preprocess=unchanged, frozen_stages=frozen)
        counts.append(len(backbone.trainable_weights))
    # 2 of the patches, the positions; 2 * 2 of norms, 6 of attention, 2 * 2 of the MLP per block.
    assert counts == [3 + 2 * 14, 2 * 14, 0]


@pytest.fixture(scope="module")
def model(tiny_config):
    config = replace(tiny_config, neck="simple_fpn")
    return MaskRCNN(config, backbone=from_keras(randomized(tiny_vitdet(96)), preprocess=unchanged))


def test_a_model_takes_over_the_pixels(model):
    assert model.config.pixel_mean == (0, 0, 0) and model.config.pixel_std == (1, 1, 1)


def test_a_file_of_a_model_needs_neither_keras_hub_nor_custom_objects(model, batch, tmp_path):
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as file:
        text = json.dumps(json.loads(file.read("config.json")))
    assert "transformer1_attention" in text and "keras_hub" not in text
    loaded = keras.models.load_model(path)
    for name, expected in model.features(batch[0]).items():
        np.testing.assert_array_equal(loaded.features(batch[0])[name], expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_vitdet_trains_with_layer_decay_and_is_served(tiny_config, batch, tmp_path, dtype):
    config = replace(tiny_config, neck="simple_fpn", head_norm="layer", score_threshold=0.0)
    backbone = from_keras(tiny_vitdet(96), preprocess=unchanged, stochastic_depth=0.2)
    model = MaskRCNN(config, backbone=backbone, dtype=dtype)
    model.compile(Recipe.named("vitdet", 2, steps=2).optimizer())
    _, changes = whole_life.train(model, batch, steps=1)
    assert not {v.path for v in model.trainable_variables} - {p for p in changes if changes[p]}
    whole_life.enliven(model)
    whole_life.reload(model, batch[0], tmp_path)
    if dtype == "float32":
        whole_life.serve(model, batch[0]["images"][0].astype(np.uint8), tmp_path)
        whole_life.run_litert(model, batch[0], tmp_path / "model.tflite", (64, 96), atol=1e-2)
