"""A run that is killed and resumed must end bit for bit as a run without a kill."""

import contextlib
import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest
from small_runs import (
    EPOCH,
    After,
    AtEpochEnd,
    Killed,
    batches,
    fit,
    kill,
    simple_model,
    terminate,
)

from keras_maskrcnn.training import Backup, HistoryFile, Sentinel, StopAfter, read_backup

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.01, momentum=0.9),
    "averages": lambda: keras.optimizers.Adam(0.01, use_ema=True, gradient_accumulation_steps=3),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.01), dynamic_growth_steps=3
    ),
}


def train(
    folder,
    *,
    first=(),
    last=(),
    optimizer="momentum",
    steps=None,
    units=4,
    seed=0,
    scope=None,
    epoch=EPOCH,
    keep=(),
    **options,
):
    """Trains three epochs, or the rest of them after a resume.

    Returns:
        the values of all variables; the content of the history file; the state of
        ReduceLROnPlateau, which halves the rate after every second epoch.
    """
    with scope or contextlib.nullcontext():
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(units, name="hidden"),
                keras.layers.BatchNormalization(name="norm"),
                keras.layers.Dropout(0.5, seed=1, name="dropout"),
                keras.layers.Dense(1, name="out"),
            ]
        )
        model.compile(OPTIMIZERS[optimizer](), loss="mse", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)  # as MaskRCNN does
    plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.5, 1, mode="min", min_delta=1e6)
    backup = Backup(
        folder / "backup",
        2,
        resume=options.pop("resume", True),
        keep=[plateau, *keep],
        run={"seed": seed},
        **options,
    )
    history = HistoryFile(folder / "history.json", resume=True)
    stop = [] if steps is None else [StopAfter(steps)]
    try:
        model.fit(
            batches(backup.step),
            epochs=3,
            initial_epoch=backup.epoch,
            steps_per_epoch=epoch,
            callbacks=[*first, plateau, history, *stop, backup, *last],
            shuffle=False,
            verbose=0,
        )
    finally:
        backup.release()
    variables = [*model.variables, *model.optimizer.variables]
    return (
        [np.asarray(v) for v in variables],
        json.loads((folder / "history.json").read_text()),
        (plateau.best, plateau.wait, plateau.cooldown_counter),
    )


def assert_same(run, expected):
    assert run[1:] == expected[1:]
    for ours, theirs in zip(run[0], expected[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The result of `train` without an interruption."""
    keras.utils.set_random_seed(0)
    return train(tmp_path_factory.mktemp("whole"))


def go_on(folder, **options):
    keras.utils.set_random_seed(1)  # another seed, because all state must come from the backup
    return train(folder, **options)


@pytest.mark.parametrize("step", [1, 4, 11])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, whole, step):
    with pytest.raises(Killed):
        train(tmp_path, last=[After(step, kill)])
    assert read_backup(tmp_path / "backup")[1]["step"] == step // 2 * 2
    assert_same(go_on(tmp_path), whole)


def test_a_run_that_is_killed_between_epochs_repeats_their_end(tmp_path, whole):
    with pytest.raises(Killed):
        train(tmp_path, last=[AtEpochEnd(1, kill)])
    assert len(json.loads((tmp_path / "history.json").read_text())) == 2
    state = read_backup(tmp_path / "backup")[1]  # of before validation, as a kill may interrupt it
    assert (state["epoch"], state["step"]) == (1, 8)
    assert_same(go_on(tmp_path), whole)


def test_a_run_is_killed_often(tmp_path, whole):
    with pytest.raises(Killed):
        train(tmp_path, last=[After(3, kill)])
    for step in (5, 6, 7):
        with pytest.raises(Killed):
            go_on(tmp_path, last=[After(step, kill)])
    assert_same(go_on(tmp_path), whole)


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        ("averages", 5),  # the backup of step 4 has a sum of one batch's gradients
        ("averages", 7),
        ("loss scale", 7),
    ],
)
def test_all_that_an_optimizer_has_is_kept(tmp_path, optimizer, step):
    keras.utils.set_random_seed(0)
    expected = train(tmp_path / "whole", optimizer=optimizer)
    keras.utils.set_random_seed(0)
    with pytest.raises(Killed):
        train(tmp_path / "killed", optimizer=optimizer, last=[After(step, kill)])
    assert_same(go_on(tmp_path / "killed", optimizer=optimizer), expected)


def test_what_a_sentinel_left_out_is_kept(tmp_path):
    def note():  # as a step with a fault does
        sentinel._found.append(("pixels", "", ["a.png"]))

    sentinel = Sentinel("skip")
    with pytest.raises(Killed):
        train(tmp_path, keep=[sentinel], first=[After(5, note), sentinel], last=[After(7, kill)])
    again = Sentinel("skip")
    _, epochs, _ = go_on(tmp_path, keep=[again], first=[again])
    assert [epoch["skipped_steps"] for epoch in epochs] == [0, 1, 0]


def test_the_rate_is_that_of_the_backup(tmp_path, whole, monkeypatch):
    """The run resumes in the same process, with a rate that ReduceLROnPlateau has lowered."""
    keras.utils.set_random_seed(0)
    with pytest.raises(Killed):
        train(tmp_path, last=[After(7, kill)])
    lowered = keras.optimizers.SGD(0.0025, momentum=0.9)
    monkeypatch.setitem(OPTIMIZERS, "momentum", lambda: lowered)
    assert_same(go_on(tmp_path), whole)


def test_two_replicas_go_on(tmp_path, two_devices):
    keras.utils.set_random_seed(0)
    expected = train(tmp_path / "whole", scope=two_devices.scope())
    keras.utils.set_random_seed(0)
    with pytest.raises(Killed):
        train(tmp_path / "killed", scope=two_devices.scope(), last=[After(7, kill)])
    ours, epochs, _ = go_on(tmp_path / "killed", scope=two_devices.scope())
    for a, b in zip(ours, expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    # A backup holds each running mean as the sum over the replicas, which rounds differently.
    for a, b in zip(epochs, expected[1], strict=True):
        assert a == pytest.approx(b, rel=1e-6)


def test_a_run_that_stops_within_an_epoch_goes_on_with_its_end(tmp_path):
    keras.utils.set_random_seed(0)
    expected = train(tmp_path / "whole", steps=10)
    keras.utils.set_random_seed(0)
    with pytest.raises(Killed):
        train(tmp_path / "killed", steps=10, first=[AtEpochEnd(2, kill)])
    assert_same(go_on(tmp_path / "killed", steps=10), expected)


def test_a_run_that_is_over_stays_as_it_is(tmp_path, whole):
    keras.utils.set_random_seed(0)
    assert_same(train(tmp_path), whole)
    assert_same(go_on(tmp_path), whole)


@pytest.mark.parametrize(
    ("number", "exception"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_ends_the_run_after_its_step(tmp_path, whole, number, exception):
    before = signal.getsignal(number)
    keras.utils.set_random_seed(0)
    with pytest.raises(exception) as caught:
        train(tmp_path, first=[After(5, lambda: os.kill(os.getpid(), number))])
    assert number == signal.SIGINT or caught.value.code == 143
    assert read_backup(tmp_path / "backup")[1]["step"] == 5
    assert signal.getsignal(number) == before
    assert_same(go_on(tmp_path), whole)


def test_signals_are_not_dead_after_a_run_that_failed(tmp_path, number=signal.SIGINT):
    """Nothing calls `release`. A later Ctrl-C in a notebook must still act as before."""
    seen = []

    def note(number, frame):
        seen.append(number)

    before = signal.signal(number, note)
    try:
        for folder in ("a", "a", "b"):  # each starts with the handlers that the last one left
            with pytest.raises(Killed):
                fit(Backup(tmp_path / folder, resume=True), first=[After(1, kill)])
        os.kill(os.getpid(), number)
        assert seen == [number]
        assert signal.getsignal(number) is note
    finally:
        signal.signal(number, before)


def test_a_run_within_a_run_does_not_take_its_signals(tmp_path):
    inner = After(2, lambda: fit(Backup(tmp_path / "inner")))
    with pytest.raises(SystemExit):
        fit(Backup(tmp_path / "outer"), first=[inner, After(3, terminate)])
    assert read_backup(tmp_path / "outer")[1]["step"] == 3


def test_a_run_that_fails_while_batches_pass_leaves_its_step(tmp_path):
    with pytest.raises(Killed):
        fit(Backup(tmp_path, every=1), first=[After(3, kill)])
    backup = Backup(tmp_path, resume=True)
    model = simple_model()
    with pytest.raises(Killed):
        fit(backup, model, first=[After(1, kill)])
    backup.release()
    fit(Backup(tmp_path / "other"), model)
    assert model.optimizer.iterations == 2 + EPOCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run that was killed after 7 steps."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        train(folder, last=[After(7, kill)])
    return folder


def test_the_last_two_backups_are_there(folder):
    assert sorted(os.listdir(folder / "backup")) == ["step_00000004.npz", "step_00000006.npz"]


def test_a_full_disk_ends_a_run_at_its_end_only(tmp_path, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    def fill():
        monkeypatch.setattr(np, "savez", full)

    with pytest.raises(OSError, match="step 12 could be written to .*step_00000012.npz: .*space"):
        train(tmp_path, first=[After(7, fill)])
    assert "no backup of step 8 could be written" in caplog.text
    assert read_backup(tmp_path / "backup")[1]["step"] == 6
    assert sorted(os.listdir(tmp_path / "backup")) == ["step_00000004.npz", "step_00000006.npz"]


def test_a_run_goes_on_from_the_backup_before_a_damaged_one(tmp_path, whole):
    keras.utils.set_random_seed(0)
    with pytest.raises(Killed):
        train(tmp_path, last=[After(7, kill)])
    (tmp_path / "backup" / "step_00000006.npz").write_bytes(b"")
    assert_same(go_on(tmp_path), whole)


def test_another_run_does_not_go_on_from_the_backup(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(ValueError, match="with seed=0, and only .* Received: seed=7"):
        train(tmp_path / "run", seed=7)
    with pytest.raises(ValueError, match="steps_per_epoch=4, .* Received: steps_per_epoch=5"):
        train(tmp_path / "run", epoch=5)


def test_the_epoch_to_go_on_with_is_checked(folder, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")])
    model.compile("sgd", loss="mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    fit = dict(steps_per_epoch=1, verbose=0, shuffle=False)
    model.fit(batches(0), epochs=2, callbacks=[Backup(tmp_path)], **fit)
    backup = Backup(tmp_path, resume=True)
    assert (backup.epoch, backup.step) == (2, 2)
    with pytest.raises(ValueError, match="initial_epoch=2, .* Received: initial_epoch=0"):
        model.fit(batches(2), epochs=3, callbacks=[backup], **fit)
    backup.release()


def test_backups_of_an_earlier_run_are_not_overwritten(folder):
    with pytest.raises(FileExistsError, match="holds backups of an earlier run"):
        Backup(folder / "backup")


def test_a_worker_that_does_not_write_restores(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    before = sorted(os.listdir(tmp_path / "run" / "backup"))
    train(tmp_path / "run", write=False)
    assert sorted(os.listdir(tmp_path / "run" / "backup")) == before


def test_weights_that_are_not_finite_are_not_saved(tmp_path, caplog):
    def spoil():
        variables[0].assign(np.full((3, 1), np.nan))

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="out")])
    model.compile("sgd", loss="mse", run_eagerly=True)
    model.optimizer.build(model.trainable_variables)
    variables = model.variables
    model.fit(
        batches(0),
        epochs=1,
        steps_per_epoch=4,
        verbose=0,
        shuffle=False,
        callbacks=[After(3, spoil), Backup(tmp_path, 1)],
    )
    assert sorted(os.listdir(tmp_path)) == ["step_00000001.npz", "step_00000002.npz"]
    assert "not finite at step 4: no backup" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be positive. Received: every=0"),
        (
            {"keep": [keras.callbacks.EarlyStopping(restore_best_weights=True)]},
            "use ModelCheckpoint.* Received: keep with restore_best_weights=True",
        ),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        Backup(tmp_path, **arguments)
