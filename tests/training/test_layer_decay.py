import json
import re
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import networks
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.training import ADAMW, Recipe
from keras_maskrcnn.training.layer_decay import depths_of

STAGES = {"stem": 0, "res2": 0, "res3": 1, "res4": 2, "res5": 3}


def small(config, **fields):
    return replace(config, backbone_width=8, **fields)


def expected_depth(variable):
    return STAGES.get(re.split("[_/]", variable.path)[0], 4)


@pytest.fixture(scope="module")
def model(tiny_config):
    return MaskRCNN(small(tiny_config))


def stepped(model, recipe):
    """Returns how far a step with gradients of one moves the first element of each variable."""
    model.compile(recipe.optimizer())
    variables = model.trainable_variables
    before = [np.array(v) for v in variables]
    model.optimizer.apply([tf.ones(v.shape) for v in variables], variables)
    return [float((old - np.array(v)).ravel()[0]) for old, v in zip(before, variables, strict=True)]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(10, weight_decay=0.0, learning_rate=0.5, warmup_fraction=0, clip_norm=None),
        Recipe(
            10,
            **{**ADAMW, "weight_decay": 0.0},
            learning_rate=0.5,
            warmup_fraction=0,
            clip_norm=None,
        ),
    ],
    ids=["sgd", "adamw"],
)
def test_equal_gradients_move_weights_by_a_factor_per_stage(model, recipe):
    moved = stepped(model, replace(recipe, layer_decay=0.5))
    variables = model.trainable_variables
    assert {expected_depth(v) for v in variables} == {0, 1, 2, 3, 4}
    expected = [0.5 * 0.5 ** (4 - expected_depth(v)) for v in variables]
    np.testing.assert_allclose(moved, expected, rtol=1e-3)


def test_weight_decay_of_adamw_follows_the_rate_and_spares_names(model):
    recipe = Recipe(
        10,
        algorithm="adamw",
        weight_decay=0.1,
        learning_rate=0.5,
        warmup_fraction=0,
        layer_decay=0.5,
        undecayed=("gamma", "beta", "bias"),
    )
    model.compile(recipe.optimizer())
    variables = model.trainable_variables
    before = [np.array(v) for v in variables]
    model.optimizer.apply([tf.zeros(v.shape) for v in variables], variables)
    for old, variable in zip(before, variables, strict=True):
        rate = 0.5 * 0.5 ** (4 - expected_depth(variable)) * (variable.name == "kernel")
        np.testing.assert_allclose(variable, old * (1 - 0.1 * rate), rtol=1e-5)


def test_blocks_of_a_transformer_have_a_depth_each(tiny_config):
    images = x = keras.Input((None, None, 3))
    names = ("patch", "transformer0_fc", "transformer1_fc", "transformer1_norm", "between")
    for name in (*names, "transformer2_fc"):
        stride = 16 if name == "patch" else 1
        x = keras.layers.Conv2D(4, stride, stride, name=name)(x)
    backbone = keras.Model(images, {"c4": x})
    model = MaskRCNN(small(tiny_config, neck="simple_fpn"), backbone=backbone)
    depths, outside = depths_of(model)
    found = {v.path.split("/")[0]: depths.get(id(v), outside) for v in model.trainable_variables}
    assert [found[name] for name in names] == [0, 1, 2, 2, 2]
    assert found["transformer2_fc"] == 3 and outside == found["lateral4"] == found["fc1"] == 4


def test_frozen_layers_have_no_depth(tiny_config):
    model = MaskRCNN(small(tiny_config, frozen_stages=2))
    depths, outside = depths_of(model)
    assert outside == 4 and set(depths.values()) == {1, 2, 3}


def test_a_saved_model_goes_on_with_its_rates(model, tmp_path):
    recipe = Recipe(10, algorithm="adamw", layer_decay=0.5, ema_momentum=0.9)
    model.compile(recipe.optimizer())
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert loaded.get_config() == model.optimizer.get_config()
    assert loaded._factors == model.optimizer._factors
    assert set(loaded._factors) == {1, 0.5, 0.25, 0.125, 0.0625}


def test_sgd_is_stored_with_its_layer_decay():
    optimizer = Recipe(10, layer_decay=0.5).optimizer()
    stored = keras.saving.serialize_keras_object(optimizer)
    assert keras.saving.deserialize_keras_object(stored).layer_decay == 0.5


def test_without_layer_decay_optimizers_are_those_of_earlier_versions(model, tmp_path):
    """Backups compare the optimizer's config."""
    model.compile(Recipe(10).optimizer())
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        config = json.loads(file.read("config.json"))["compile_config"]["optimizer"]["config"]
    assert "layer_decay" not in config
    assert type(Recipe(10, **ADAMW).optimizer()) is keras.optimizers.AdamW


def test_an_optimizer_that_knows_no_model_is_refused():
    variable = keras.Variable([1.0])
    with pytest.raises(ValueError, match="MaskRCNN.compile .*Received: layer_decay=0.5"):
        Recipe(10, layer_decay=0.5).optimizer().build([variable])


@pytest.mark.parametrize("decay", [0.0, 1.1])
def test_a_factor_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=f"in .0, 1.. Received: layer_decay={decay}"):
        Recipe(10, layer_decay=decay)


@pytest.mark.slow  # two models under a strategy; test_optimizers.py has a small one
@pytest.mark.parametrize("mixed", [False, True])
def test_two_replicas_step_like_one(tiny_config, two_devices, mixed):
    recipe = Recipe(
        10, learning_rate=0.5, weight_decay=0, warmup_fraction=0, layer_decay=0.5, clip_norm=None
    )
    dtype = "mixed_float16" if mixed else "float32"
    with two_devices.scope():
        model = MaskRCNN(small(tiny_config), dtype=dtype)
        model.compile(recipe.optimizer())
        variables = model.trainable_variables
        model.optimizer.build(variables)
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    before = [np.array(v) for v in variables]

    @tf.function
    def step():
        two_devices.run(lambda: inner.apply([tf.fill(v.shape, 0.5) for v in variables], variables))

    step()
    for old, variable in zip(before, variables, strict=True):
        rate = 0.5 * 0.5 ** (4 - expected_depth(variable))
        np.testing.assert_allclose(old - np.array(variable), rate, rtol=1e-3)


def test_a_backbone_of_one_map_counts_it_as_one_stage(tiny_config):
    config = small(tiny_config, neck="c5", anchor_sizes=(32.0,))
    backbone = networks.build_backbone(config)
    only = keras.Model(backbone.input, {"c5": backbone.output["c5"]})
    depths, outside = depths_of(MaskRCNN(config, backbone=only))
    assert outside == 1 and set(depths.values()) == {0}
