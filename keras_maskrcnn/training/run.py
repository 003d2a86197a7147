"""A training run in a folder, which survives kills; the command `train` uses it."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any, Literal

import keras
from absl import logging

from keras_maskrcnn import data, distribution
from keras_maskrcnn.data.coco import CocoDataset
from keras_maskrcnn.evaluation import CocoEvaluation
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.shares import join_skipped
from keras_maskrcnn.training.backup import Backup, has_state
from keras_maskrcnn.training.backup_files import backup_paths
from keras_maskrcnn.training.callbacks import HistoryFile, StopAfter
from keras_maskrcnn.training.insight import EpochLine, Pictures, Throughput, TimeLeft
from keras_maskrcnn.training.recipe import Recipe
from keras_maskrcnn.training.sentinel import Sentinel
from keras_maskrcnn.typing import Dataset, OnError, Path, Proposals

# The metric that chooses the epoch whose weights are in best.keras.
_MONITORED = {"masks": "val_segm/AP", "boxes": "val_bbox/AP", "proposals": "val_bbox/AR1000"}


class Run:
    """Trains a model in a folder, as `keras-maskrcnn train` does, with the same results.

        model = MaskRCNN.from_preset("mask_rcnn_resnet50_fpn_torchvision", weights="coco", ...)
        recipe = Recipe(steps=12 * steps_per_epoch(train, 2), batch_size=2)
        epochs = Run(model, recipe, train, "runs/a", val=val, resume=True).fit()

    The folder gets model.keras, history.json, TensorBoard logs and a backup every `save_every`
    steps. With `val` it also gets best.keras, from the epoch with the highest AP. After a kill, the
    same lines with `resume=True` continue the run, and the result is the same as without the kill;
    see docs/training.md. To train on several devices, make the model in the scope of a strategy
    (`distribution.make_strategy`).

    Args:
        model: MaskRCNN. It is compiled with the recipe's optimizer; frozen layers stay frozen. To
            resume a run, its weights need not be loaded, because the backup has them.
        recipe: Recipe. It sets the length of the run, and the batch size over all replicas.
        train: `data.CocoDataset`, or another data set that `data.batches` takes.
        folder: str or PathLike. It is made if it does not exist.
        val: `data.CocoDataset` with the same classes; None for no validation.
        resume: bool. Whether to continue from a backup in the folder, if there is one.
        seed: int >= 0. Seed of the order of the images, the flips and the augmentations. For the
            model's random weights, call `keras.utils.set_random_seed` before you make the model.
        callbacks: sequence of keras.callbacks.Callback, for instance EarlyStopping. They see the
            validation's metrics. Backups hold the state of EarlyStopping, ReduceLROnPlateau and
            ModelCheckpoint.
        eval_every: int. Epochs between two validations.
        max_detections: int. Detections per image that count in a validation, as in `evaluate`.
        save_every: int. Steps between two backups.
        on_nonfinite: "stop" or "skip". What to do if a step's loss is not finite, see `Sentinel`.
        on_error: "raise" or "skip". What to do if an image cannot be read. `train.skipped` and
            `val.skipped` name the images that were skipped.
        val_proposals: as `proposals` of `data.batches`, for the images of `val`.
        identity: dict of plain values that must be the same in a resumed run, for instance
            {"augment": "rotate90"}. These are compared without it: model, optimizer, steps, batch
            size, seed, `max_detections`, and checksums of the images' names (`images` and
            `val_images`).
        verbose: 0 for no output, 1 for Keras' bar, 2 for a line per epoch (`EpochLine`). With 1 or
            2 also the time left (`TimeLeft`).
        **batching: other arguments of `data.batches` for `train`: `augment`, `copy_paste`,
            `proposals`, `cache`. The config gives sizes and padding.

    Attributes:
        steps_per_epoch: int. The number of whole batches in `train`.
        backup: Backup. Its `step` and `epoch` say where the run starts; `stored_run` describes the
            backup's run.

    Raises:
        BlockingIOError: if another process trains into the folder.
        DataError: if there are backups but none can be read.
        FileExistsError: if the folder has files of an earlier run that would be lost.
        ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        model: MaskRCNN,
        recipe: Recipe,
        train: Dataset,
        folder: Path,
        *,
        val: CocoDataset | None = None,
        resume: bool = False,
        seed: int = 0,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        eval_every: int = 1,
        max_detections: int = 100,
        save_every: int = 200,
        on_nonfinite: Literal["stop", "skip"] = "stop",
        on_error: OnError = "raise",
        val_proposals: Proposals | None = None,
        identity: Mapping[str, Any] | Iterable[tuple[str, Any]] = (),
        verbose: int = 1,
        **batching: Any,
    ) -> None:
        strategy = model.distribute_strategy
        replicas = strategy.num_replicas_in_sync
        self.steps_per_epoch = steps_per_epoch(train, recipe.batch_size, replicas)
        self.model, self.recipe, self.train, self.val = model, recipe, train, val
        self.folder, self.callbacks, self.seed = folder, tuple(callbacks), seed
        self.eval_every, self.max_detections = eval_every, max_detections
        self.on_error, self.val_proposals, self.batching = on_error, val_proposals, batching
        self.writes = distribution.is_chief()
        self.verbose = verbose if self.writes else 0
        resumes = _resumes(folder, resume)
        with strategy.scope():
            model.compile(optimizer=recipe.optimizer())
        os.makedirs(folder, exist_ok=True)
        self._best = keras.callbacks.ModelCheckpoint(
            self._path("best.keras"),
            mode="max",
            save_best_only=True,
            monitor=_MONITORED[model.config.task],
        )
        self._sentinel = Sentinel(on_nonfinite, train)
        self._history = HistoryFile(self._path("history.json"), resume=resumes, write=self.writes)
        identity = {**_names(train, val), **dict(identity)}
        self.backup = self._make_backup(save_every, resumes, identity)

    def fit(self) -> list[dict[str, Any]]:
        """Trains to the end of the run, and saves the model.

        Returns:
            list with a dict per epoch, also of epochs before a kill: the content of history.json.

        Raises:
            ValueError: if the backup is of another run, or a step is not finite (DataError if an
                image is the cause).
            SystemExit: after SIGTERM; the run is saved.
            KeyboardInterrupt: after Ctrl-C; the run is saved.
            OSError: if the last backup or the model cannot be written.
        """
        try:
            self.model.fit(
                self._training_batches(),
                epochs=-(-self.recipe.steps // self.steps_per_epoch),
                initial_epoch=self.backup.epoch,
                steps_per_epoch=self.steps_per_epoch,
                callbacks=self._all_callbacks(),
                verbose=self.verbose % 2,
                validation_data=self._validation_batches(),
                validation_freq=self.eval_every,
                shuffle=False,
            )
        finally:
            self.backup.release()
        if self.writes:
            self.model.save(self._path("model.keras"))
        strategy = self.model.distribute_strategy
        for dataset in (self.train, self.val):
            join_skipped(strategy, dataset)
        # Wait for the other workers: one that ended earlier would look like a crash.
        distribution.gather(strategy, [None])
        return self._history.epochs

    def _make_backup(self, every, resumes, identity):
        return Backup(
            self._path("backup"),
            every,
            resume=resumes,
            keep=[self._best, self._sentinel, *filter(has_state, self.callbacks)],
            write=self.writes,
            run={
                "steps": self.recipe.steps,
                "batch_size": self.recipe.batch_size,
                "seed": self.seed,
                "max_detections": self.max_detections,
                **identity,
            },
        )

    def _all_callbacks(self):
        """Returns the callbacks in their order; each sees what earlier ones wrote into the logs."""
        callbacks = [Throughput()]
        if self.recipe.ema_momentum is not None:  # the callbacks after this one see the average
            callbacks.append(keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
        if self.val is not None:
            callbacks += self._validation_callbacks(self.val)
        callbacks += [*self.callbacks, self._sentinel]
        if self.writes:
            callbacks.append(keras.callbacks.TensorBoard(self._path("logs"), write_graph=False))
        callbacks += [self._history, StopAfter(self.recipe.steps)]
        if self.verbose:
            callbacks.append(TimeLeft())
        if self.verbose == 2:
            callbacks.append(EpochLine())
        return [*callbacks, self.backup]

    def _validation_callbacks(self, val):
        config, every = self.model.config, self.eval_every
        evaluation = CocoEvaluation(
            val,
            max_detections=self.max_detections,
            every=every,
            proposals=self.val_proposals,
            on_error=self.on_error,
        )
        callbacks = [evaluation, *([self._best] if self.writes else [])]
        if config.task != "proposals" and config.proposals == "joint":
            callbacks.append(Pictures(self._path("logs"), val, every=every, write=self.writes))
        return callbacks

    def _training_batches(self):
        return data.batches(
            self.train,
            self.recipe.batch_size,
            training=True,
            seed=self.seed,
            repeat=True,
            first_step=self.backup.step,
            on_error=self.on_error,
            **{**self._shapes(), **self.batching},
        )

    def _validation_batches(self):
        if self.val is None:
            return None
        return data.batches(
            self.val,
            self.recipe.batch_size,
            training=False,
            proposals=self.val_proposals,
            on_error=self.on_error,
            **self._shapes(),
        )

    def _shapes(self):
        config = self.model.config
        return {**config.resizing(), "max_proposals": config.train_proposals}

    def _path(self, name):
        return os.path.join(self.folder, name)


def steps_per_epoch(dataset: Sized, batch_size: int, replicas: int = 1) -> int:
    """Counts the steps of an epoch: the whole batches of a data set.

    Args:
        dataset: sequence of images.
        batch_size: int. Images per step, over all replicas together.
        replicas: int. Devices that share a batch.

    Returns:
        int, at least 1. A last batch of fewer images does not count.

    Raises:
        ValueError: if a replica would get no image, or there is no whole batch.
    """
    if batch_size < replicas:
        raise ValueError(
            f"batch_size must be at least the number of replicas, {replicas}. "
            f"Received: batch_size={batch_size}."
        )
    if batch_size > len(dataset):
        raise ValueError(
            f"batch_size must be at most the number of images, {len(dataset)}. "
            f"Received: batch_size={batch_size}."
        )
    return len(dataset) // batch_size


def earlier_files(folder: Path) -> list[str]:
    """Lists the files of an earlier run in a folder: some of model.keras, best.keras and backup."""
    names = ("model.keras", "best.keras")
    found = [name for name in names if os.path.lexists(os.path.join(folder, name))]
    return found + (["backup"] if backup_paths(os.path.join(folder, "backup")) else [])


def _resumes(folder, resume):
    """Returns whether to continue from a backup; FileExistsError if a run would be lost."""
    found = earlier_files(folder)
    if found and not (resume and "backup" in found):
        ways = "resume=True continues from its backup; " if "backup" in found else ""
        raise FileExistsError(
            f"{folder} holds {', '.join(found)} of an earlier run: {ways}a new run needs another "
            f"folder. Received: resume={resume}."
        )
    if resume and not found:
        logging.warning("%s holds no backup: a new run starts.", folder)
    return "backup" in found


def _names(train, val):
    """Returns checksums of all images' names, in their order."""

    def checksum(dataset):
        return hashlib.sha256("\n".join(map(str, dataset.file_names)).encode()).hexdigest()

    return {"images": checksum(train), "val_images": None if val is None else checksum(val)}
