import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import training
from keras_maskrcnn.training import ADAMW, RECIPES, SGD, Recipe, WarmupSteps, sgd


class Variables(keras.layers.Layer):
    """A kernel, and a gamma and a beta as norms name them, all equal."""

    def __init__(self):
        super().__init__()
        start = keras.initializers.Constant(2.0)
        names = ("kernel", "gamma", "beta")
        self.all = [self.add_weight(name=n, shape=(1,), initializer=start) for n in names]


def torch_sgd(weight, gradients, *, learning_rate, momentum, weight_decay):
    """torch.optim.SGD, transcribed from its documentation (dampening 0, no Nesterov)."""
    buffer = None
    for gradient in gradients:
        gradient = gradient + weight_decay * weight
        buffer = gradient if buffer is None else momentum * buffer + gradient
        weight = weight - learning_rate * buffer
    return weight


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.2), (1, 0.4), (4, 1.0), (9, 1.0), (10, 0.1), (19, 0.1), (20, 0.01), (1000, 0.01)],
)
def test_rate_rises_and_then_falls_in_steps(step, rate):
    schedule = WarmupSteps(1.0, warmup_steps=5, milestones=(10, 20), decay=0.1)
    assert float(schedule(step)) == pytest.approx(rate, rel=1e-6)


def test_rate_without_warmup_is_full_at_once():
    assert float(WarmupSteps(0.5)(0)) == 0.5


def test_rate_takes_the_iterations_of_an_optimizer():
    optimizer = keras.optimizers.SGD(WarmupSteps(1.0, warmup_steps=4))
    optimizer.iterations.assign(2)
    assert float(optimizer.learning_rate) == 0.75


def test_schedule_round_trips():
    schedule = WarmupSteps(0.3, 7, [10, 20], 0.5)
    stored = keras.saving.serialize_keras_object(schedule)
    assert keras.saving.deserialize_keras_object(stored).get_config() == schedule.get_config()


def test_sgd_equals_torch_s():
    kernel = Variables().all[0]
    optimizer = SGD(0.1, momentum=0.9, l2=0.5)
    gradients = [1.0, -2.0, 0.5]
    for gradient in gradients:
        optimizer.apply([tf.constant([gradient])], [kernel])
    expected = torch_sgd(2.0, gradients, learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    np.testing.assert_allclose(kernel, [expected], rtol=1e-6)


def test_scales_and_shifts_of_norms_do_not_decay():
    variables = Variables().all
    optimizer = SGD(0.1, momentum=0.0, l2=0.5)
    optimizer.apply([tf.zeros([1])] * 3, variables)
    # The kernel loses 0.1 * 0.5 * 2.
    np.testing.assert_allclose(np.concatenate(variables), [1.9, 2.0, 2.0], rtol=1e-6)


def test_whoever_wants_it_lets_everything_decay():
    variables = Variables().all
    optimizer = SGD(0.1, momentum=0.0, l2=0.5, undecayed=())
    optimizer.apply([tf.zeros([1])] * 3, variables)
    np.testing.assert_allclose(np.concatenate(variables), [1.9, 1.9, 1.9], rtol=1e-6)
    assert SGD.from_config(optimizer.get_config()).undecayed == ()


def test_no_decay_without_l2():
    kernel = Variables().all[0]
    SGD(0.1, l2=0.0).apply([tf.zeros([1])], [kernel])
    np.testing.assert_array_equal(kernel, [2.0])


def test_decay_is_not_clipped():
    # The gradient of 30 is cut to 3; the decay of 0.5 * 2 comes on top, as in torch.
    kernel = Variables().all[0]
    SGD(0.1, momentum=0.0, l2=0.5, global_clipnorm=3.0).apply([tf.constant([30.0])], [kernel])
    np.testing.assert_allclose(kernel, [2 - 0.1 * (3 + 1)], rtol=1e-6)


def test_two_replicas_step_like_one(two_devices):
    with two_devices.scope():
        variables = Variables().all
        optimizer = SGD(0.1, momentum=0.9, l2=0.5)
        optimizer.build(variables)

    @tf.function
    def step():
        def replica():
            optimizer.apply([tf.fill([1], 0.5)] * 3, variables)  # summed over replicas: 1

        two_devices.run(replica)

    for _ in range(2):
        step()
    kernel = torch_sgd(2.0, [1, 1], learning_rate=0.1, momentum=0.9, weight_decay=0.5)
    norm = torch_sgd(2.0, [1, 1], learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    np.testing.assert_allclose(
        np.concatenate([v.numpy() for v in variables]), [kernel, norm, norm], rtol=1e-6
    )


def test_optimizer_round_trips():
    optimizer = sgd(0.3, warmup_steps=7, milestones=(10,), weight_decay=0.5, clip_norm=2.0)
    stored = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(stored)
    assert isinstance(restored, SGD)
    assert restored.l2 == 0.5
    assert restored.global_clipnorm == 2.0
    restored.iterations.assign(3)
    assert float(restored.learning_rate) == pytest.approx(0.3 * 4 / 7)


def test_recipe_scales_the_rate_with_the_batch():
    # 0.02 for 16 images, so 0.01 for 8; after warm-up and before the milestone.
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
        ("torchvision", 16, 190_557, 0.02, [117_265, 161_240]),  # 26 epochs, 16 and 22
        ("torchvision_v2", 64, 732_912, 0.1, [644_962, 703_595]),  # 400 epochs, 352 and 384
        ("paper", 2, 1_280_000, 0.0025, [960_000]),  # as many images, 2 at a time
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
        assert isinstance(Recipe.named(name, 16).optimizer(), SGD)


def test_an_unknown_recipe_is_answered_with_all():
    with pytest.raises(ValueError, match="paper, paper_resnext, .*name='4x'"):
        Recipe.named("4x", 16)


def test_a_recipe_tells_all_its_numbers():
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


def test_rates_that_are_no_rates_are_named():
    with pytest.raises(ValueError, match="Received: learning_rate=-1"):
        sgd(-1)
    with pytest.raises(ValueError, match="Received: steps=0"):
        training.StopAfter(0)
