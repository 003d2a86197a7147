"""Which runs count as the same, so that one may continue from the backup of the other."""

import dataclasses
import json

import keras
import pytest

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.training import Recipe
from keras_maskrcnn.training.identity import check_same_run, describe_run


def describe(units=4, optimizer=None, trainable=True, keep=(), **further):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units, name="out")])
    model.layers[0].trainable = trainable
    model.compile(optimizer or keras.optimizers.SGD(0.01), loss="mse")
    return describe_run(model, 4, keep, further)


def refuses(stored, run, message):
    with pytest.raises(ValueError, match=message):
        check_same_run("step_00000002.npz", stored, run)


def test_a_run_is_itself_whatever_keras_calls_its_objects():
    check_same_run("path", describe(seed=0), describe(seed=0))


def test_the_first_field_that_differs_is_named():
    refuses(
        describe(seed=0),
        describe(seed=7),
        "^step_00000002.npz is of a run with seed=0, and only the same run can continue from it. "
        "Received: seed=7.$",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 5}, "model.layers.1.config.units=4, .* Received: model.layers.1.config.units=5"),
        (
            {"optimizer": keras.optimizers.Adam(0.01)},
            "optimizer.class='SGD', .* Received: optimizer.class='Adam'",
        ),
        (
            {"optimizer": keras.optimizers.SGD(0.01, momentum=0.5)},
            "optimizer.momentum=0.0, .* Received: optimizer.momentum=0.5",
        ),
        ({"trainable": False}, "trainable=True, .* Received: .*trainable=False"),
        (
            {"keep": [keras.callbacks.EarlyStopping()]},
            "keep.0=None, .* Received: keep.0='EarlyStopping'",
        ),
        ({"crowds": "objects"}, "crowds=None, .* Received: crowds='objects'"),
    ],
    ids=["model", "optimizer", "momentum", "frozen", "keep", "new field"],
)
def test_another_run_is_refused(change, message):
    refuses(describe(), describe(**change), message)


def test_another_precision_makes_another_run():
    stored = describe()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        refuses(stored, describe(), "dtype_policy='float32', .*'mixed_bfloat16'")
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_rate_that_is_a_number_may_differ():
    check_same_run("path", describe(), describe(optimizer=keras.optimizers.SGD(0.02)))


def test_another_schedule_makes_another_run():
    stored, run = (describe(optimizer=Recipe(steps).optimizer()) for steps in (100, 200))
    refuses(stored, run, "warmup_steps=10, .* Received: .*warmup_steps=20")


def test_a_class_of_ours_may_move_to_another_file():
    """In version 0.1 the schedule was in training/recipe.py; backups hold that name."""
    stored, run = (describe(optimizer=Recipe(100).optimizer()) for _ in range(2))
    stored["optimizer"]["learning_rate"]["module"] = "keras_maskrcnn.training.recipe"
    check_same_run("path", stored, run)
    stored["optimizer"]["learning_rate"]["registered_name"] = "keras_maskrcnn>Another"
    refuses(stored, run, "registered_name='keras_maskrcnn>Another'")


def test_names_that_keras_gave_to_layers_may_differ():
    def run(channels):
        images = keras.Input((None, None, 3))
        body = keras.Model(images, {"c2": keras.layers.Conv2D(channels, 3)(images)})
        return {"backbone": json.loads(json.dumps(keras.saving.serialize_keras_object(body)))}

    first, again = run(8), run(8)
    assert first != again
    check_same_run("step_1.npz", first, again)
    with pytest.raises(ValueError, match=r"filters=8, .*filters=4\.$"):
        check_same_run("step_1.npz", first, run(4))


def of_config(**changes):
    """A description whose model and second stage have the same config."""
    config = {**json.loads(json.dumps(dataclasses.asdict(MaskRCNNConfig()))), **changes}
    stage = {"class_name": "RoIHeads", "config": {"config": config}}
    return {"model": {"config": config, "roi_heads": stage}}


@pytest.mark.parametrize(("field", "other"), [("mask_loss", "softmax"), ("anchor_sizes", [8] * 5)])
def test_a_field_that_an_older_version_lacked_had_its_default(field, other):
    stored = of_config()
    del stored["model"]["config"][field]  # the stage holds the same dict
    check_same_run("step_00000002.npz", stored, of_config())
    refuses(stored, of_config(**{field: other}), f"model.config.{field}")


def test_a_shorter_list_is_not_filled_up_with_defaults():
    sizes = list(MaskRCNNConfig().anchor_sizes)
    refuses(of_config(anchor_sizes=sizes[:3]), of_config(), "anchor_sizes.3=None")
