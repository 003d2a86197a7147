"""Checks that a run may continue from a backup: what must be the same in both."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from keras_maskrcnn.config import MaskRCNNConfig


def describe_run(
    model: keras.Model,
    steps_per_epoch: int,
    keep: Iterable[keras.callbacks.Callback],
    further: Mapping[str, Any],
) -> dict[str, Any]:
    """Describes a run: its model, its optimizer, and the caller's values.

    Args:
        model: compiled keras.Model. All its weights exist.
        steps_per_epoch: int.
        keep: sequence of the callbacks whose state is in backups.
        further: dict of plain values, for instance the batch size.

    Returns:
        dict, as it is after a round trip through JSON.
    """
    optimizer = model.optimizer
    run = {
        **further,
        "steps_per_epoch": steps_per_epoch,
        "dtype_policy": model.dtype_policy.name,
        # Without changes of layers: the weights' shapes show them, and version 0.1 lacks them.
        "model": {k: v for k, v in model.get_config().items() if k != "changes"},
        "optimizer": {"class": type(optimizer).__name__, **optimizer.get_config()},
        "keep": [type(callback).__name__ for callback in keep],
        "weights": [
            {"shape": list(v.shape), "dtype": v.dtype, "trainable": v.trainable}
            for v in model.weights
        ],
    }
    return json.loads(json.dumps(run))


def check_same_run(path: str, stored: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raises ValueError if two runs are not the same; the message names the first difference.

    Args:
        path: str. The backup that `stored` comes from.
        stored, run: dicts from `describe_run`. Config fields that `stored` lacks have their
            defaults.
    """
    # Older versions lack fields of today. The default of a new field is how they worked.
    defaults = json.loads(json.dumps(dataclasses.asdict(MaskRCNNConfig())))
    stored, run = _flat(_with_new_fields(stored, defaults)), _flat(run)
    for name in {**stored, **run}:
        if stored.get(name) != run.get(name):
            raise ValueError(
                f"{path} is of a run with {name}={stored.get(name)!r}, and only the same run can "
                f"continue from it. Received: {name}={run.get(name)!r}."
            )


def _with_new_fields(value, defaults):
    """Adds missing fields to each config in a description: the model's, and those of its stages."""
    if isinstance(value, list):
        return [_with_new_fields(inner, defaults) for inner in value]
    if not isinstance(value, dict):
        return value
    is_config = {"num_classes", "image_min_side"} <= set(value)
    filled = {key: _with_new_fields(inner, defaults) for key, inner in value.items()}
    return {**defaults, **filled} if is_config else filled


def _flat(value, prefix=""):
    """{"a": [{"b": 1}]} -> {"a.0.b": 1}, without the fields that may differ in equal runs."""
    if not isinstance(value, dict | list):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if not _may_differ(key, inner, value):
            flat |= _flat(inner, f"{prefix}.{key}" if prefix else key)
    return flat


def _may_differ(key, value, parent):
    # Keras numbers its objects per process. The graph of a part that was passed in has such names.
    if key in ("name", "keras_history", "input_layers", "output_layers"):
        return True
    if key == "learning_rate" and isinstance(value, float):  # the backup restores this variable
        return True
    # A class that is registered with Keras may move to another file.
    return key == "module" and bool(parent.get("registered_name"))
