"""Backups of a training run: a resumed run gives the same result as one without a stop."""

import signal
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_maskrcnn import distribution
from keras_maskrcnn.training.backup_files import (
    backup_path,
    backup_paths,
    read_backup,
    remove_backups,
    write_backup,
)
from keras_maskrcnn.training.identity import check_same_run, describe_run
from keras_maskrcnn.training.lock import lock_folder
from keras_maskrcnn.training.stop_signals import StopSignals
from keras_maskrcnn.typing import Path

_ASK_EVERY = 10  # steps between two exchanges of signals with the other workers
# The state of EarlyStopping, ReduceLROnPlateau and ModelCheckpoint (from earlier epochs), and of
# Sentinel (from this epoch).
_CALLBACK_STATE = (
    "best",
    "best_epoch",
    "wait",
    "stopped_epoch",
    "cooldown_counter",
    "skipped_steps",
    "skipped_images",
)


def has_state(callback: keras.callbacks.Callback) -> bool:
    """Returns whether a callback has a best value or counters that `keep` can save."""
    return any(name in vars(callback) for name in _CALLBACK_STATE)


class Backup(keras.callbacks.Callback):
    """Saves a run every `every` steps, before and after validation, at SIGTERM and at Ctrl-C.

    Make it the last callback. The same lines start a run and resume it, even in the middle of an
    epoch:

        backup = Backup("run/backup", resume=True, keep=[best])
        batches = data.batches(..., repeat=True, first_step=backup.step, **config.resizing())
        model.fit(batches, epochs=12, initial_epoch=backup.epoch, steps_per_epoch=steps,
                  callbacks=[..., best, backup], shuffle=False)

    A backup holds all variables of the model, the optimizer and the metrics, the position in the
    data, and the state of the callbacks in `keep`. All variables of the model must exist before the
    first step; those of a MaskRCNN do.

    For what a backup does not hold, see docs/training.md. The page also describes signals, a full
    disk and several workers.

    Only one process at a time can use a folder. The Backup holds it until the end of `fit`.

    Args:
        folder: str. It keeps the last two backups, named step_00000200.npz and so on. If the newest
            is damaged, the run continues from the other and logs a warning.
        every: int. Steps between two backups. A kill loses at most this many steps.
        resume: bool. Whether to continue from a backup in the folder, if there is one.
        keep: sequence of callbacks. The backup saves the best value and the counters of
            EarlyStopping, ReduceLROnPlateau, ModelCheckpoint and `Sentinel`.
        run: dict of plain values that must be the same in a resumed run, for instance batch size
            and seed. The configs of the model and the optimizer are compared too. A learning rate
            that is a number may differ; the backup's number is used.
        write: bool. False in workers that only restore. Of several workers, one writes.

    Attributes:
        step: int. Batches trained on so far, for `first_step` of `data.batches`.
        epoch: int. Completed epochs, for `initial_epoch` of `fit`.
        stored_run: dict, the `run` of the backup, and more; None without a backup.

    Raises:
        BlockingIOError: if another process trains into the folder.
        FileExistsError: if there are backups in the folder and `resume` is False.
        DataError: if there are backups but none can be read.
        ValueError: if an argument is out of its range; from `fit`, if the backup is of another run.
        OSError: from `fit`, if its last backup cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        every: int = 200,
        *,
        resume: bool = False,
        keep: Sequence[keras.callbacks.Callback] = (),
        run: Mapping[str, Any] | None = None,
        write: bool = True,
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be positive. Received: every={every}.")
        if any(getattr(callback, "restore_best_weights", False) for callback in keep):
            raise ValueError(
                "backups do not hold best weights: use ModelCheckpoint(save_best_only=True). "
                "Received: keep with restore_best_weights=True."
            )
        lock = lock_folder(folder) if write else None
        if write and not resume and backup_paths(folder):
            del lock  # else the traceback keeps the folder locked
            raise FileExistsError(f"{folder} holds backups of an earlier run.")
        self._lock = lock
        self.folder, self.every, self.keep = folder, every, tuple(keep)
        self.run, self.write = dict(run or {}), write
        self._last: str | None = None  # paths of the backups
        self._previous: str | None = None
        self.step = self.epoch = self._batch = 0  # _batch counts within the epoch
        self.stored_run: dict[str, Any] | None = None
        self._stored = read_backup(folder) if resume else None
        if self._stored is not None:
            self._last, state, _ = self._stored
            self.step, self.epoch, self._batch = (state[n] for n in ("step", "epoch", "batch"))
            self.stored_run = state["run"]
        self._passing: _PassingBatches | None = None
        self._signals: StopSignals | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Compares the run with the backup's run, and takes over the signals."""
        if not self.params["steps"]:
            raise ValueError("backups need the length of an epoch. Received: steps_per_epoch=None.")
        self._run = describe_run(self.model, self.params["steps"], self.keep, self.run)
        if self._stored is not None:
            path, state, _ = self._stored
            check_same_run(path, state["run"], self._run)
        if self.write:
            self._lock = lock_folder(self.folder)
        self._signals = StopSignals(self.model, self.release)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Restores the backup. Otherwise saves, as all callbacks have finished the last epoch."""
        if self._stored is not None:
            if epoch != self.epoch:
                raise ValueError(
                    f"{self._last} continues with initial_epoch={self.epoch}, see Backup.epoch. "
                    f"Received: initial_epoch={epoch}."
                )
            self._restore(self._stored)
        else:
            self.epoch, self._batch = epoch, 0
            self._save_or_stop()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Counts the batch. Saves if a backup is due or the program must end."""
        if self._passing is not None:
            if batch + 1 >= self._batch:
                self._train_again()
            return
        before = self.step
        self.step += batch + 1 - self._batch
        self._batch = batch + 1
        # Validation follows the last batch. It may take longer than a scheduler waits after
        # SIGTERM, so the backup comes before it.
        due = self._batch == self.params["steps"] or self.model.stop_training
        due |= self.step // self.every > before // self.every
        alone = distribution.worker(self.model.distribute_strategy)[1] == 1
        if due or alone or self.step // _ASK_EVERY > before // _ASK_EVERY:
            self._save_or_stop(due)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Ends a restored epoch that has no batch left."""
        self._train_again()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Saves the end of the run, and restores the signal handlers."""
        if self._stored is not None:  # no epoch was left to train
            self._restore(self._stored)
        else:
            self.epoch, self._batch = self.params["epochs"], 0
            self._save(final=True)
        self.release()
        number = self._agreed_signal()
        if number is not None:
            self._stop(number)

    def release(self) -> None:
        """Restores the signal handlers and the model's training step, and unlocks the folder.

        `fit` calls this at its end. If `fit` fails, MaskRCNN calls it; with another model, call it
        yourself.
        """
        if self._signals is not None:
            self._signals.release()
        self._train_again()
        if self._lock is not None:
            self._lock.release()

    release_signals = release  # its name in version 0.1
    on_fit_failed = release

    def _save_or_stop(self, due=True):
        """Saves if a backup is due. After a signal it always saves, and ends the run."""
        number = self._agreed_signal()
        if due or number is not None:
            self._save(final=number is not None)
        if number is not None:
            self._stop(number)

    def _agreed_signal(self):
        """Returns the signal that any worker got, or None.

        All workers call this at the same step, so all stop at the same step.
        """
        received = None if self._signals is None else self._signals.received
        signals = distribution.gather(self.model.distribute_strategy, [received])
        return next((number for number in signals if number is not None), None)

    def _stop(self, number):
        # Wait for the worker that writes: one that ended earlier would look like a crash.
        distribution.gather(self.model.distribute_strategy, [None])
        self.release()
        name = signal.Signals(number).name
        logging.warning("%s: stopped after step %d; backup in %s.", name, self.step, self.folder)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _variables(self):
        model = self.model
        metrics = [variable for metric in model.metrics for variable in metric.variables]
        return [*model.variables, *model.optimizer.variables, *metrics]

    def _save(self, final=False):
        # Every worker must read: under a strategy some variables are sums over the replicas.
        values = [np.asarray(variable) for variable in self._variables()]
        if not self.write:
            return
        if not all(np.isfinite(value).all() for value in values[: len(self.model.variables)]):
            logging.warning("Weights are not finite at step %d: no backup is written.", self.step)
            return
        state = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self._batch,
            "callbacks": [
                {name: vars(callback)[name] for name in _CALLBACK_STATE if name in vars(callback)}
                for callback in self.keep
            ],
            "run": self._run,
        }
        try:
            path = write_backup(self.folder, state, values)
        except OSError as error:
            path = backup_path(self.folder, self.step)
            message = f"no backup of step {self.step} could be written to {path}: {error}"
            if final:
                raise OSError(message) from error
            logging.warning("%s. The run continues without it.", message)
            return
        if path != self._last:
            self._last, self._previous = path, self._last
        remove_backups(self.folder, but={self._last, self._previous})

    def _restore(self, stored):
        _, state, values = stored
        self._stored = None
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value.view(variable.dtype))  # NumPy's files have no bfloat16
        for callback, attributes in zip(self.keep, state["callbacks"], strict=True):
            vars(callback).update(attributes)
        if self._batch:
            self._passing = _PassingBatches(self.model)

    def _train_again(self):
        if self._passing is not None:
            self._passing.end()
            self._passing = None


class _PassingBatches:
    """Makes a model skip its steps, until `end`.

    Keras cannot start in the middle of an epoch. Therefore it counts the batches before the backup
    without taking a step and without reading a batch; the data set starts after them.
    """

    def __init__(self, model):
        self._model, self._train_function = model, model.train_function
        logs = model.get_metrics_result()
        model.train_function = lambda iterator: logs

    def end(self):
        self._model.train_function = self._train_function
