import keras
import numpy as np
import pytest
from backbones.hub_networks import keras_hub, tiny_mit, tiny_vitdet

from keras_maskrcnn.backbones import from_keras
from keras_maskrcnn.backbones.hub_weights import as_ours, take
from keras_maskrcnn.backbones.transformers import vitdet
from keras_maskrcnn.catalog import RGB

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@pytest.fixture(scope="module")
def theirs():
    return tiny_vitdet()


def test_vitdet_gives_the_map_before_the_neck_of_sam(theirs):
    before = keras.Model(theirs.input, theirs.layers[-2].output)
    images = np.random.default_rng(1).uniform(0, 1, (2, 96, 96, 3)).astype(np.float32)
    found = as_ours(theirs)[0]((images - MEAN) / STD)
    assert found.shape == (2, 6, 6, 16)
    np.testing.assert_allclose(found, before(images), atol=2e-5)


@pytest.fixture(scope="module")
def their_mit():
    return tiny_mit()


def test_mit_gives_the_maps_of_all_stages(their_mit):
    theirs = their_mit
    images = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)
    expected = keras.Model(theirs.input, theirs.pyramid_outputs)(images)
    found = as_ours(theirs)[0](images)
    assert [x.shape[1:3] for x in found] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    for x, name in zip(found, ("P1", "P2", "P3", "P4"), strict=True):
        np.testing.assert_allclose(x, expected[name], atol=2e-5)


def test_positions_for_another_size_are_interpolated(theirs):
    ours = vitdet(
        side=192,
        hidden_size=16,
        num_layers=2,
        intermediate_dim=32,
        num_heads=2,
        global_attention_layer_indices=[1],
        window_size=4,
    )
    take(ours, theirs)
    table = np.asarray(ours.get_layer("positions").table)
    assert table.shape == (1, 12, 12, 16)
    pairs = table.reshape(6, 2, 6, 2, 16).mean(axis=(1, 3))  # each cell is two by two cells
    expected = np.asarray(theirs.get_layer(index=2).pos_embed)[0]
    assert np.corrcoef(pairs.ravel(), expected.ravel())[0, 1] > 0.95
    attention = ours.get_layer("transformer1_attention")
    assert attention.rel_pos_h.shape == (23, 8)
    windowed = ours.get_layer("transformer0_attention")  # windows stay as they are
    own = theirs.get_layer(index=3).attention.add_decomposed_relative_pe.rel_pos_h
    np.testing.assert_array_equal(windowed.rel_pos_h, own)


def test_options_that_ours_has_not_are_refused():
    network = keras_hub.models.ViTDetBackbone(
        hidden_size=8,
        num_layers=1,
        intermediate_dim=8,
        num_heads=2,
        global_attention_layer_indices=[],
        image_shape=(32, 32, 3),
        use_rel_pos=False,
    )
    with pytest.raises(ValueError, match="Received: use_rel_pos=False"):
        as_ours(network)


def test_other_networks_stay_as_they_are():
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
    assert as_ours(network) == (network, None)


@pytest.mark.parametrize(
    ("preprocess", "mean", "std"),
    [
        (None, RGB[0], RGB[1]),
        # What KerasHub's network takes is in 0..1, and it normalizes that.
        (lambda images: images / 255, RGB[0], RGB[1]),
        (lambda images: images / 510, [2 * x for x in RGB[0]], [2 * x for x in RGB[1]]),
    ],
)
def test_a_backbone_of_vitdet_knows_its_pixels(theirs, preprocess, mean, std):
    backbone = from_keras(theirs, preprocess=preprocess)
    np.testing.assert_allclose(backbone.pixel_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(backbone.pixel_std, std, rtol=1e-5)


def test_pixels_of_mit_are_those_of_its_presets_unless_given(their_mit):
    assert from_keras(their_mit).pixel_mean == RGB[0]
    assert from_keras(their_mit, preprocess=lambda x: x / 2).pixel_mean == (0, 0, 0)
