"""Backups of a training run: one that goes on from a backup ends as if it had never stopped."""

import glob
import json
import os
import signal
import sys
import threading

import keras
import numpy as np
from absl import logging

from keras_maskrcnn import distribution, files
from keras_maskrcnn.data import DataError, archives
from keras_maskrcnn.training.lock import lock_folder

_FORMAT = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ASK_EVERY = 10  # steps between two questions for the signals of other workers
# What EarlyStopping, ReduceLROnPlateau and ModelCheckpoint know of the epochs before, and Sentinel
# of this one.
_CALLBACK_STATE = (
    "best",
    "best_epoch",
    "wait",
    "stopped_epoch",
    "cooldown_counter",
    "skipped_steps",
    "skipped_images",
)


class Backup(keras.callbacks.Callback):
    """Saves a run every so many steps, before and after validation, at SIGTERM and at Ctrl-C.

    The last in the list of callbacks. The same lines begin a run and go on with it, in the middle
    of an epoch if need be; on CPUs the weights are then equal to the bit:

        backup = Backup("run/backup", resume=True, keep=[best])
        batches = data.batches(..., repeat=True, first_step=backup.step)
        model.fit(batches, epochs=12, initial_epoch=backup.epoch, steps_per_epoch=steps,
                  callbacks=[..., best, backup], shuffle=False)

    A backup has all variables of the model (weights, statistics of batch norm, seeds), of the
    optimizer (step, momenta, averages, accumulated gradients, loss scale) and of the metrics (the
    means of the epoch so far), the position in the data, and the best value and the counters of
    EarlyStopping, ReduceLROnPlateau, ModelCheckpoint and `Sentinel`, if they are in `keep`. It does
    not have the state of other callbacks, `model.history` (`HistoryFile` has all epochs), and the
    global random generators, from which neither the model nor `data.batches` draws.

    At a signal the step is finished and saved. Then `fit` ends with SystemExit and status 143 after
    SIGTERM, with KeyboardInterrupt after Ctrl-C; a second signal acts at once. Several workers ask
    each other every tenth step, and all end if one of them got a signal. A thread other than the
    main one gets no signals.

    From its making to the end of `fit` no other process can make one of the same folder: of
    several that train into it, each would remove what the others save. `release` ends that before,
    and undoes what `fit` leaves behind if it fails; `MaskRCNN.fit` calls it then.

    Weights that are not finite are not saved, so that there is something to go back to. If the disk
    is full the run goes on, and says so; only the last backup of `fit` must succeed. The model is a
    `MaskRCNN`, of whose variables all exist before the first step; Keras makes those of compiled
    metrics later.

    Args:
        folder: str. The last two backups stay there, as step_00000200.npz and so on; if the newest
            is damaged, a run goes on from the other, and says so.
        every: int. Steps between two backups: what a kill loses at most.
        resume: bool. Whether to go on from a backup in the folder, if there is one.
        keep: sequence of the callbacks whose state is saved.
        run: dict of plain values that must be the same in the run that goes on, beside the model's
            and the optimizer's config: batch size and seed, for instance. A learning rate that is a
            number may differ: the backup's counts.
        write: bool. False in workers that only restore: of several, one writes.

    Attributes:
        step: int. Batches trained on so far: `first_step` of `data.batches`.
        epoch: int. Epochs that are over: `initial_epoch` of `fit`.
        stored_run: dict, what the run of the backup has, `run` and more; None without a backup.

    Raises:
        BlockingIOError: if another process trains into the folder.
        FileExistsError: if there are backups in the folder, without `resume`.
        DataError: if there are backups, and none can be read.
        ValueError: if an argument is out of its range; from `fit`, if the backup is of another run.
        OSError: from `fit`, if its last backup cannot be written.
    """

    def __init__(self, folder, every=200, *, resume=False, keep=(), run=None, write=True):
        super().__init__()
        if every < 1:
            raise ValueError(f"every must be positive. Received: every={every}.")
        if any(getattr(callback, "restore_best_weights", False) for callback in keep):
            raise ValueError(
                "backups have no best weights: use ModelCheckpoint(save_best_only=True). "
                "Received: keep with restore_best_weights=True."
            )
        lock = lock_folder(folder) if write else None
        if write and not resume and backup_paths(folder):
            del lock  # the traceback would keep it
            raise FileExistsError(f"{folder} holds backups of an earlier run.")
        self._lock = lock
        self.folder, self.every, self.keep = folder, every, tuple(keep)
        self.run, self.write = dict(run or {}), write
        self._batch = 0  # batches of this epoch
        self._last = self._previous = None  # paths of the backups
        self._stored = read_backup(folder) if resume else None
        if self._stored is None:
            self.step = self.epoch = 0
        else:
            self._last, state, _ = self._stored
            self.step, self.epoch, self._batch = (state[n] for n in ("step", "epoch", "batch"))
        self.stored_run = state["run"] if self._stored else None
        self._train_function = None  # of the model, while the batches before the backup pass
        self._signal, self._handlers = None, {}

    def on_train_begin(self, logs=None):
        """Compares the run with that of the backup, and takes over the signals."""
        if not self.params["steps"]:
            raise ValueError("backups need the length of an epoch. Received: steps_per_epoch=None.")
        self._run = self._describe()
        if self._stored is not None:
            _check_same_run(self._last, self._stored[1]["run"], self._run)
        if self.write:
            self._lock = lock_folder(self.folder)
        self._signal = None
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                _release_failed(signal.getsignal(number))
            self._handlers = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def on_epoch_begin(self, epoch, logs=None):
        """Restores the backup, or saves: all callbacks have had the epoch before."""
        if self._stored is not None:
            if epoch != self.epoch:
                raise ValueError(
                    f"{self._last} goes on with initial_epoch={self.epoch}, see Backup.epoch. "
                    f"Received: initial_epoch={epoch}."
                )
            self._restore()
        else:
            self.epoch, self._batch = epoch, 0
            self._save_or_stop()

    def on_train_batch_end(self, batch, logs=None):
        """Counts, and saves if it is time or if the program is to end."""
        if self._train_function is not None:
            if batch + 1 >= self._batch:
                self._train_again()
            return
        before = self.step
        self.step += batch + 1 - self._batch
        self._batch = batch + 1
        # Validation, which may take longer than a scheduler waits after SIGTERM, comes next.
        due = self._batch == self.params["steps"] or self.model.stop_training
        due |= self.step // self.every > before // self.every
        alone = distribution.worker(self.model.distribute_strategy)[1] == 1
        if due or alone or self.step // _ASK_EVERY > before // _ASK_EVERY:
            self._save_or_stop(due)

    def on_epoch_end(self, epoch, logs=None):
        """Ends a restored epoch of which no batch was left."""
        self._train_again()

    def on_train_end(self, logs=None):
        """Saves the end of the run, and gives the signals back."""
        if self._stored is not None:  # there was no epoch left
            self._restore()
        else:
            self.epoch, self._batch = self.params["epochs"], 0
            self._save(final=True)
        self.release()
        if self._is_asked_to_stop():
            self._stop()

    def release(self):
        """Gives back signals, the folder and the model's training step.

        `fit` does so at its end; after one that failed it is for callers, but for MaskRCNN's.
        """
        self._release_signals()
        self._train_again()
        if self._lock is not None:
            self._lock.release()

    release_signals = release  # its name in version 0.1
    on_fit_failed = release

    def _release_signals(self):
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not set by Python
        self._handlers = {}

    def _note(self, number, frame):
        """The handler during `fit`; of one that failed and still has it, it is for others."""
        running = self._runs_in(frame)
        self._release_signals()
        if running:
            self._signal = number
        else:
            signal.raise_signal(number)

    def _runs_in(self, frame):
        """Whether `fit` of the model is among the calls that led to a frame."""
        while frame is not None:
            if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is self.model:
                return True
            frame = frame.f_back
        return False

    def _save_or_stop(self, due=True):
        """Saves if it is time to; after a signal in any case, and ends the run."""
        stops = self._is_asked_to_stop()
        if due or stops:
            self._save(final=stops)
        if stops:
            self._stop()

    def _is_asked_to_stop(self):
        """Whether any worker got a signal: all must ask at once, and save and stop at once."""
        signals = distribution.gather(self.model.distribute_strategy, [self._signal])
        self._signal = next((number for number in signals if number is not None), None)
        return self._signal is not None

    def _stop(self):
        # A worker that ended before the one that writes would seem to have crashed.
        distribution.gather(self.model.distribute_strategy, [None])
        self.release()
        name = signal.Signals(self._signal).name
        logging.warning("%s: stopped after step %d; backup in %s.", name, self.step, self.folder)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self._signal)

    def _describe(self):
        """What must be the same in the run that goes on, as JSON gives it back."""
        model, optimizer = self.model, self.model.optimizer
        run = {
            **self.run,
            "steps_per_epoch": self.params["steps"],
            "dtype_policy": model.dtype_policy.name,
            # Without what is changed of layers, which weights tell and version 0.1 did not save.
            "model": {k: v for k, v in model.get_config().items() if k != "changes"},
            "optimizer": {"class": type(optimizer).__name__, **optimizer.get_config()},
            "keep": [type(callback).__name__ for callback in self.keep],
            "weights": [
                {"shape": list(v.shape), "dtype": v.dtype, "trainable": v.trainable}
                for v in model.weights
            ],
        }
        return json.loads(json.dumps(run))

    def _variables(self):
        model = self.model
        metrics = [variable for metric in model.metrics for variable in metric.variables]
        return [*model.variables, *model.optimizer.variables, *metrics]

    def _save(self, final=False):
        # Every worker reads, for under a strategy some variables are sums over the replicas.
        values = [np.asarray(variable) for variable in self._variables()]
        if not self.write:
            return
        if not all(np.isfinite(value).all() for value in values[: len(self.model.variables)]):
            logging.warning("Weights are not finite at step %d: no backup of them.", self.step)
            return
        state = {
            "format": _FORMAT,
            "step": self.step,
            "epoch": self.epoch,
            "batch": self._batch,
            "callbacks": [
                {name: vars(callback)[name] for name in _CALLBACK_STATE if name in vars(callback)}
                for callback in self.keep
            ],
            "variables": len(values),
            "run": self._run,
        }
        path = os.path.join(self.folder, f"step_{self.step:08}.npz")
        try:
            os.makedirs(self.folder, exist_ok=True)
            with files.replacing(path) as new:
                text = np.frombuffer(json.dumps(state).encode(), np.uint8)
                np.savez(new, *values, state=text)
        except OSError as error:
            message = f"no backup of step {self.step} could be written to {path}: {error}"
            if final:
                raise OSError(message) from error
            logging.warning("%s. The run goes on without.", message)
            return
        if path != self._last:
            self._last, self._previous = path, self._last
        kept = {self._last, self._previous}
        # What kills left behind; version 0.1 wrote to new.step_00000200.npz and so on.
        left = [f"{files.UNFINISHED}*.step_*.npz", f"new.step_{'[0-9]' * 8}.npz"]
        left = {path for pattern in left for path in _paths(self.folder, pattern)}
        for other in {*backup_paths(self.folder), *left} - kept:
            os.remove(other)

    def _restore(self):
        (_, state, values), self._stored = self._stored, None
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value.view(variable.dtype))  # NumPy's files know no bfloat16
        for callback, attributes in zip(self.keep, state["callbacks"], strict=True):
            vars(callback).update(attributes)
        if self._batch:
            # Keras cannot begin within an epoch: the batches before the backup pass without a step.
            logs = self.model.get_metrics_result()
            self._train_function = self.model.train_function
            self.model.train_function = lambda iterator: logs

    def _train_again(self):
        if self._train_function is not None:
            self.model.train_function, self._train_function = self._train_function, None


def _release_failed(handler):
    """Gives signals back that a Backup still has whose `fit` has failed."""
    backup = getattr(handler, "__self__", None)
    if isinstance(backup, Backup) and not backup._runs_in(sys._getframe()):
        backup.release()


def read_backup(folder):
    """Reads the newest backup of a folder that is not damaged; which ones are is logged.

    Nothing in the file is executed: it is a zip archive of arrays, each with its checksum, and one
    of them is JSON.

    Args:
        folder: str.

    Returns:
        None if there is no backup, else its path; its state, a dict; a list of arrays, the values
        of all variables.

    Raises:
        DataError: if none of the backups can be read.
        PermissionError: if the newest one may not be read.
        ValueError: if it was written by another version of this module.
    """
    paths = backup_paths(folder)
    for path in reversed(paths):
        try:
            with archives.load_npz(path) as file:
                state, values = json.loads(file["state"].tobytes()), None
                if state["format"] == _FORMAT:
                    values = [file[f"arr_{i}"] for i in range(state["variables"])]
        except PermissionError:
            raise
        except Exception as error:  # of many kinds, of zipfile, NumPy and json
            logging.warning("%s is damaged (%s): the backup before it counts.", path, error)
            continue
        if values is None:
            raise ValueError(f"{path}: format must be {_FORMAT}. Received: {state['format']}.")
        return path, state, values
    if paths:
        raise DataError(f"{folder}: no backup can be read. Received: {len(paths)} damaged files.")
    return None


def backup_paths(folder):
    """Returns the paths of a folder's backups, the newest last."""
    return _paths(folder, "step_*.npz")


def _paths(folder, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def _check_same_run(path, stored, run):
    stored, run = _flat(stored), _flat(run)
    for name in {**stored, **run}:
        if stored.get(name) != run.get(name):
            raise ValueError(
                f"{path} is of a run with {name}={stored.get(name)!r}, and only the same run can "
                f"go on from it. Received: {name}={run.get(name)!r}."
            )


def _flat(value, prefix=""):
    """{"a": [{"b": 1}]} -> {"a.0.b": 1}, without what two runs that are the same may differ in."""
    if not isinstance(value, dict | list):
        return {prefix: value}
    flat = {}
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        # Keras numbers its objects in a process; a rate that is a number is a variable, restored.
        if key != "name" and not (key == "learning_rate" and isinstance(inner, float)):
            flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat
