"""Training: optimizers and schedules (§3.1), runs in a folder, backups, and callbacks."""

from keras_maskrcnn.training.backup import Backup
from keras_maskrcnn.training.backup_files import read_backup
from keras_maskrcnn.training.callbacks import HistoryFile, StopAfter
from keras_maskrcnn.training.freezing import freeze
from keras_maskrcnn.training.insight import EpochLine, Pictures, Throughput, TimeLeft
from keras_maskrcnn.training.optimizers import SGD, WarmupSteps, sgd
from keras_maskrcnn.training.recipe import ADAMW, PRESET_RECIPES, RECIPES, Recipe
from keras_maskrcnn.training.run import Run, steps_per_epoch
from keras_maskrcnn.training.sentinel import Sentinel

__all__ = [
    "ADAMW",
    "PRESET_RECIPES",
    "RECIPES",
    "SGD",
    "Backup",
    "EpochLine",
    "HistoryFile",
    "Pictures",
    "Recipe",
    "Run",
    "Sentinel",
    "StopAfter",
    "Throughput",
    "TimeLeft",
    "WarmupSteps",
    "freeze",
    "read_backup",
    "sgd",
    "steps_per_epoch",
]
