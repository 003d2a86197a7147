"""Callbacks that end a run after a number of steps, and that write its history file."""

import os

import keras

from keras_maskrcnn import files
from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.keras_private import batches_seen
from keras_maskrcnn.typing import Path


def steps_taken(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns how many batches an optimizer has seen, int."""
    return int(batches_seen(optimizer).numpy())


class StopAfter(keras.callbacks.Callback):
    """Ends training after a number of steps, even in the middle of an epoch.

    Args:
        steps: int. Steps of the whole run, with those before a resume.

    Raises:
        ValueError: if `steps` is not positive.
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        if not steps >= 1:
            raise ValueError(f"steps must be positive. Received: steps={steps!r}.")
        self.steps = steps

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Asks Keras to stop once the optimizer has taken that many steps."""
        # Reading the count waits for the step to end. The logs from Keras have waited already.
        if steps_taken(self.model.optimizer) >= self.steps:
            self.model.stop_training = True


class HistoryFile(keras.callbacks.Callback):
    """Writes the logs of every epoch to a JSON file: a list of {"epoch", "step", name: value}.

    Args:
        path: str.
        resume: bool. Whether to keep the epochs that the file already has.
        write: bool. False in workers that do not write the file. Of several workers, one writes.

    Attributes:
        epochs: list of dict, what the file holds.

    Raises:
        DataError: if the file's epochs cannot be read.
    """

    def __init__(self, path: Path, resume: bool = False, write: bool = True) -> None:
        super().__init__()
        self.path, self.write, self.epochs = path, write, []
        if resume and os.path.exists(path):
            self.epochs = _read(path)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Makes the folder now, as a failure at the end of an epoch would lose the epoch."""
        if self.write:
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds an epoch. It replaces later epochs, which a resumed run repeats."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        step = steps_taken(self.model.optimizer)
        self.epochs = [entry for entry in self.epochs if entry["epoch"] <= epoch]
        self.epochs.append({"epoch": epoch + 1, "step": step, **values})
        if self.write:
            files.write_json(self.path, self.epochs, indent=1)


def _read(path):
    try:
        epochs = read_json(path)
        if all(isinstance(entry["epoch"], int) for entry in epochs):
            return epochs
        problem = "an epoch is not a number"
    except (DataError, TypeError, KeyError) as error:
        problem = str(error)
    raise DataError(
        f"{path} must be a JSON list of epochs; move it away to start a new one: {problem}."
    )
