"""A run as Python users write it: what it passes to `fit`, refuses and returns."""

import dataclasses
import json
import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_runs import TINY

from keras_maskrcnn import cli, data, distribution, training
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.training import Recipe, Run, read_backup
from keras_maskrcnn.training.backup_files import write_backup

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


class Model:
    """Replaces a MaskRCNN; keeps the arguments of its calls."""

    distribute_strategy = tf.distribute.get_strategy()

    def __init__(self, config):
        self.config = config

    def compile(self, optimizer):
        self.optimizer = optimizer

    def fit(self, batches, **arguments):
        self.batches, self.arguments = batches, arguments

    def save(self, path):
        pathlib.Path(path).write_text("a model")


@pytest.fixture
def model(tiny_config):
    return Model(tiny_config)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "shapes"
    runpy.run_path(str(EXAMPLES / "shapes.py"))["make_shapes"](folder, train=6, val=3, size=64)
    return folder


@pytest.fixture(scope="module")
def train(folder):
    return data.coco_json(folder / "train", folder / "annotations" / "train.json")


@pytest.fixture(scope="module")
def val(folder):
    return data.coco_json(folder / "val", folder / "annotations" / "val.json")


def names(callbacks):
    return [type(callback).__name__ for callback in callbacks]


def test_callbacks_come_in_the_order_in_which_they_read_each_other(model, train, val, tmp_path):
    stopping = keras.callbacks.EarlyStopping("val_segm/AP", mode="max")
    recipe = Recipe(7, 2, ema_momentum=0.9)
    Run(model, recipe, train, tmp_path / "a", val=val, callbacks=[stopping], verbose=2).fit()
    assert names(model.arguments["callbacks"]) == [
        "Throughput",
        "SwapEMAWeights",
        "CocoEvaluation",
        "ModelCheckpoint",
        "Pictures",
        "EarlyStopping",
        "Sentinel",
        "TensorBoard",
        "HistoryFile",
        "StopAfter",
        "TimeLeft",
        "EpochLine",
        "Backup",
    ]


def test_without_validation_nothing_is_evaluated(model, train, tmp_path):
    Run(model, Recipe(7, 2), train, tmp_path / "a").fit()
    assert names(model.arguments["callbacks"]) == [
        "Throughput",
        "Sentinel",
        "TensorBoard",
        "HistoryFile",
        "StopAfter",
        "TimeLeft",
        "Backup",
    ]
    assert model.arguments["validation_data"] is None


def test_sizes_are_the_config_s_and_lengths_the_recipe_s(model, train, val, tmp_path):
    run = Run(model, Recipe(7, 2), train, tmp_path / "a", val=val, eval_every=2)
    run.fit()
    for batches in (model.batches, model.arguments["validation_data"]):
        for name, value in model.config.resizing().items():
            assert batches.made_with[name] == value
    assert isinstance(model.optimizer, training.SGD)
    arguments = {n: model.arguments[n] for n in ("epochs", "initial_epoch", "steps_per_epoch")}
    assert arguments == {"epochs": 3, "initial_epoch": 0, "steps_per_epoch": 3}  # of the 6 images
    assert model.arguments["validation_freq"] == 2
    assert (tmp_path / "a" / "model.keras").exists()
    assert not (tmp_path / "a" / "backup" / "lock").exists()


def test_other_arguments_are_those_of_batches(model, train, tmp_path):
    sides = (64, 96)
    Run(model, Recipe(7, 2), train, tmp_path / "a", min_side=sides, cache=True).fit()
    assert model.batches.made_with["min_side"] == list(sides)
    with pytest.raises(TypeError, match="proposal_file"):
        Run(model, Recipe(7, 2), train, tmp_path / "b", proposal_file="p").fit()
    assert not (tmp_path / "b" / "backup" / "lock").exists()


def test_a_worker_that_is_not_the_first_writes_nothing(model, train, val, tmp_path, monkeypatch):
    monkeypatch.setattr(distribution, "is_chief", lambda: False)
    Run(model, Recipe(7, 2), train, tmp_path, val=val, verbose=2).fit()
    assert names(model.arguments["callbacks"]) == [
        "Throughput",
        "CocoEvaluation",
        "Pictures",
        "Sentinel",
        "HistoryFile",
        "StopAfter",
        "Backup",
    ]
    assert model.arguments["verbose"] == 0
    history = model.arguments["callbacks"][4]
    assert not history.write and not model.arguments["callbacks"][-1].write
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model.keras", "best.keras"])
def test_an_earlier_run_is_not_overwritten(model, train, tmp_path, name):
    (tmp_path / name).write_text("a model")
    for resume in (False, True):
        with pytest.raises(FileExistsError, match=f"holds {name} of .* resume={resume}"):
            Run(model, Recipe(7, 2), train, tmp_path, resume=resume)


def test_a_run_goes_on_from_its_backup(model, train, tmp_path):
    state = {"step": 5, "epoch": 1, "batch": 2, "run": {"steps": 7}}
    write_backup(tmp_path / "backup", state, [])
    epochs = [{"epoch": 1, "step": 3, "loss": 2.0}]
    (tmp_path / "history.json").write_text(json.dumps(epochs))
    with pytest.raises(FileExistsError, match="holds backup .*: resume=True continues from its"):
        Run(model, Recipe(7, 2), train, tmp_path)
    run = Run(model, Recipe(7, 2), train, tmp_path, resume=True)
    assert (run.backup.step, run.backup.stored_run) == (5, {"steps": 7})
    assert run.fit() == epochs  # the epochs before the kill
    assert model.arguments["initial_epoch"] == 1


def test_without_a_backup_a_new_run_starts_with_a_warning(model, train, tmp_path, caplog):
    run = Run(model, Recipe(7, 2), train, tmp_path / "new", resume=True)
    assert run.backup.step == 0
    assert "new holds no backup: a new run starts." in caplog.text


def test_batches_are_not_larger_than_the_data_set_nor_smaller_than_the_replicas(model, train):
    assert training.steps_per_epoch(train, 4) == 1
    with pytest.raises(ValueError, match="number of images, 6. Received: batch_size=7"):
        Run(model, Recipe(7, 7), train, "none")
    with pytest.raises(ValueError, match="number of replicas, 2. Received: batch_size=1"):
        training.steps_per_epoch(train, 1, replicas=2)
    assert not pathlib.Path("none").exists()


def test_a_run_of_other_images_is_another_run(model, train, val, tmp_path):
    def identity(folder, train, val=None, **options):
        return Run(model, Recipe(7, 2), train, tmp_path / folder, val=val, **options).backup.run

    stored = identity("a", train, val)
    assert stored == identity("b", train, val)
    assert {"steps": 7, "batch_size": 2, "seed": 0, "max_detections": 100}.items() <= stored.items()
    other = dataclasses.replace(train, file_names=train.file_names[::-1])
    assert identity("c", other, val)["images"] != stored["images"]
    assert identity("d", train)["val_images"] is None
    own = identity("e", train, identity={"data": "version 3"})
    assert own == {**identity("f", train), "data": "version 3"}


def test_backups_hold_the_state_of_callbacks_that_have_one(model, train, tmp_path):
    stopping = keras.callbacks.EarlyStopping("loss", mode="min")
    others = [keras.callbacks.LambdaCallback(), keras.callbacks.TerminateOnNaN()]
    run = Run(model, Recipe(7, 2), train, tmp_path, callbacks=[*others, stopping])
    assert names(run.backup.keep) == ["ModelCheckpoint", "Sentinel", "EarlyStopping"]


class Kill(keras.callbacks.Callback):
    """Aborts the run in the second epoch, after its first step."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1:
            raise InterruptedError


@pytest.mark.slow
def test_a_run_in_python_that_was_killed_ends_as_the_command_s(folder, train, val, tmp_path):
    flags = [
        f"--{prefix}{name}={folder / part}"
        for prefix, split in (("", "train"), ("val_", "val"))
        for name, part in (("images", split), ("annotations", f"annotations/{split}.json"))
    ]
    flags += [*TINY, "--epochs=2", "--save_every=2", "--ema_momentum=0.5"]
    assert cli.run(["train", *flags, f"--output={tmp_path / 'command'}"]) == 0
    expected = keras.models.load_model(tmp_path / "command" / "model.keras")

    def run(*callbacks, resume):
        keras.utils.set_random_seed(0)
        recipe = Recipe(
            2 * training.steps_per_epoch(train, 2),
            2,
            ema_momentum=0.5,
            **training.PRESET_RECIPES["mask_rcnn_resnet18_fpn_small"],
        )
        return Run(
            MaskRCNN(expected.config),
            recipe,
            train,
            tmp_path / "python",
            val=val,
            resume=resume,
            save_every=2,
            callbacks=callbacks,
        ).fit()

    with pytest.raises(InterruptedError):
        run(Kill(), resume=False)
    assert read_backup(tmp_path / "python" / "backup")[1]["step"] == 3
    epochs = run(resume=True)
    written = json.loads((tmp_path / "command" / "history.json").read_text())
    for ours, theirs in zip(epochs, written, strict=True):
        for name in ("images_per_second", "waiting"):
            ours.pop(name, None), theirs.pop(name, None)
        assert ours == theirs
    for name in ("model.keras", "best.keras"):
        ours, theirs = (
            keras.models.load_model(tmp_path / run / name) for run in ("python", "command")
        )
        for a, b in zip(
            ours.weights + ours.optimizer.variables,
            theirs.weights + theirs.optimizer.variables,
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
