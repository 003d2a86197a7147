import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.training import ADAMW, RECIPES, SGD, Recipe
from keras_maskrcnn.training.callbacks import steps_taken
from keras_maskrcnn.training.optimizers import AdamW


def test_recipe_scales_the_rate_with_the_batch():
    # 0.02 is for 16 images, so 0.01 is for 8. Step 50 is after the warm-up, before the milestone.
    optimizer = Recipe(steps=100, batch_size=8).optimizer()
    optimizer.iterations.assign(50)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


def test_recipe_takes_milestones_as_shares_of_the_run():
    optimizer = Recipe(steps=100, learning_rate=1.0, milestones=(0.6, 0.8)).optimizer()
    rates = []
    for step in (59, 60, 79, 80):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [1.0, 0.1, 0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize(("steps", "warmup"), [(100, 10), (100_000, 1000), (5, 0)])
def test_recipe_warms_up_for_a_tenth_but_at_most_1000_steps(steps, warmup):
    config = Recipe(steps=steps).optimizer().get_config()["learning_rate"]["config"]
    assert config["warmup_steps"] == warmup


def test_adamw_follows_the_same_schedule():
    recipe = Recipe(steps=100, batch_size=4, **ADAMW)
    optimizer = recipe.optimizer()
    assert isinstance(optimizer, keras.optimizers.AdamW)
    assert (optimizer.weight_decay, optimizer.global_clipnorm) == (0.05, 10.0)
    optimizer.build([])
    optimizer.iterations.assign(74)
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)
    optimizer.iterations.assign(75)
    assert float(optimizer.learning_rate) == pytest.approx(1e-4)


def test_an_unknown_algorithm_is_an_error():
    with pytest.raises(ValueError, match="sgd, adamw. Received: algorithm='adam'"):
        Recipe(steps=1, algorithm="adam")


@pytest.mark.parametrize(
    ("name", "batch_size", "steps", "rate", "milestones"),
    [
        ("paper", 16, 160_000, 0.02, [120_000]),  # §3.1, Training
        ("paper_resnext", 8, 160_000, 0.01, [120_000]),  # "1 image per GPU ... 0.01"
        ("detectron2_1x", 16, 90_000, 0.02, [60_000, 80_000]),
        ("detectron2_2x", 16, 180_000, 0.02, [120_000, 160_000]),
        ("detectron2_3x", 16, 270_000, 0.02, [210_000, 250_000]),
        ("detectron2_lsj", 64, 184_375, 0.1, [163_889, 177_546]),
        ("vitdet", 64, 184_375, 1e-4, [163_889, 177_546]),
        ("torchvision", 16, 190_557, 0.02, [117_265, 161_240]),  # 26 epochs, 16 and 22
        ("torchvision_v2", 64, 732_912, 0.1, [644_962, 703_595]),  # 400 epochs, 352 and 384
        ("paper", 2, 1_280_000, 0.0025, [960_000]),  # the same number of images, with 2 per step
    ],
)
def test_named_recipes_have_the_numbers_that_were_published(
    name, batch_size, steps, rate, milestones
):
    recipe = Recipe.named(name, batch_size)
    schedule = recipe.schedule()
    assert recipe.steps == steps
    assert schedule["learning_rate"] == pytest.approx(rate)
    np.testing.assert_allclose(schedule["milestones"], milestones, atol=1)  # shares round down


def test_a_named_recipe_keeps_its_shape_in_fewer_steps():
    recipe = Recipe.named("detectron2_3x", 4, steps=2700, momentum=0.5)
    assert recipe.schedule()["milestones"] == [2100, 2500]
    assert recipe.momentum == 0.5


def test_every_named_recipe_makes_an_optimizer():
    for name in RECIPES:
        kind = AdamW if name == "vitdet" else SGD
        assert isinstance(Recipe.named(name, 16).optimizer(), kind)


def test_an_unknown_recipe_is_an_error_that_lists_all():
    with pytest.raises(ValueError, match="paper, paper_resnext, .*name='4x'"):
        Recipe.named("4x", 16)


def test_a_recipe_as_text_has_all_its_numbers():
    text = str(Recipe.named("paper", 16))
    for part in (
        "steps=160000",
        "batch_size=16",
        "learning_rate=0.02",
        "milestones=[120000]",
        "warmup_steps=500",
        "weight_decay=0.0001",
        "momentum=0.9",
    ):
        assert part in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": -3},
        {"steps": math.inf},
        {"steps": "9"},
        {"batch_size": 0},
        {"steps": 2.5},
        {"accumulate_steps": True},
        {"learning_rate": -0.1},
        {"learning_rate": math.nan},
        {"base_rate": math.inf},
        {"clip_norm": -1.0},
        {"clip_norm": 0.0},
        {"weight_decay": -1e-4},
        {"momentum": 1.5},
        {"milestones": (90_000,)},
        {"warmup_fraction": -1},
        {"accumulate_steps": 0},
        {"ema_momentum": math.nan},
        {"ema_momentum": 1.0},
        {"warmup_max": -1},
    ],
    ids=str,
)
def test_a_number_out_of_its_range_is_named(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"^{name} must be .* Received: {name}="):
        Recipe(**{"steps": 10, **wrong})


def test_two_batches_make_one_change_of_their_mean_gradient():
    layer = keras.layers.Layer()
    weight = layer.add_weight(shape=(1,), initializer="zeros")
    recipe = Recipe(
        2,
        learning_rate=1.0,
        warmup_fraction=0.0,
        milestones=(),
        weight_decay=0.0,
        accumulate_steps=2,
    )
    optimizer = recipe.optimizer()
    seen = []
    for gradient in (1.0, 3.0, 0.0):
        optimizer.apply([tf.constant([gradient])], [weight])
        seen.append(float(weight[0]))
    assert seen == [0.0, -2.0, -2.0]
    assert optimizer.iterations == 1 and steps_taken(optimizer) == 3


def test_accumulation_counts_in_the_rate_and_in_the_warmup():
    alone = Recipe(100_000, 8, milestones=(0.5,)).schedule()
    shared = Recipe(100_000, 2, accumulate_steps=4, milestones=(0.5,)).schedule()
    assert alone == {"learning_rate": 0.01, "warmup_steps": 1000, "milestones": [50_000]}
    assert shared == {**alone, "warmup_steps": 4000}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"accumulate_steps": 0},
            "accumulate_steps must be a whole number of at least 1. Received: accumulate_steps=0",
        ),
        ({"ema_momentum": 1.0}, r"ema_momentum must be in \[0, 1\). Received: ema_momentum=1.0"),
    ],
)
def test_fields_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(10, **fields)
