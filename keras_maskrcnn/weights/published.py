"""Loads weights that Keras publishes for its own networks into the backbone of their name."""

import importlib
import os
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_maskrcnn.backbones import building
from keras_maskrcnn.catalog import BACKBONES, for_bands
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import PRESETS
from keras_maskrcnn.typing import Path
from keras_maskrcnn.weights.checkpoint import CheckpointError, require_finite
from keras_maskrcnn.weights.report import some

KERAS_CONVENTIONS: dict[str, Any] = {
    "stride_in_1x1": True,
    "pixel_std": (1.0, 1.0, 1.0),
    "pixel_mean": (123.68, 116.779, 103.939),
}
"""Fields of a config that keras.applications' ResNets need, beside `stem_pool_same=False`."""


def imagenet_fields(preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config fields that the weights "imagenet" of a preset need.

    Args:
        preset: str, one of `PRESETS`.
        overrides: dict. Fields of the config that replace those of the preset.

    Returns:
        dict: `keras_conventions` for our ResNets, and {} for the networks of Keras, whose presets
            have their own.
    """
    if is_from_keras({**PRESETS.get(preset, {}), **overrides}.get("backbone", "")):
        return {}
    return keras_conventions(overrides.get("in_channels", 3))


def keras_conventions(in_channels: int = 3) -> dict[str, Any]:
    """Returns `KERAS_CONVENTIONS` for images of other bands, see `catalog.for_bands`.

    Args:
        in_channels: int. Bands of an image.
    """
    pixels = ("pixel_mean", "pixel_std")
    numbers = {name: for_bands(KERAS_CONVENTIONS[name], in_channels) for name in pixels}
    return {**KERAS_CONVENTIONS, **numbers}


def is_from_keras(backbone: str) -> bool:
    """Returns whether a name is that of a network of keras.applications or KerasHub."""
    return backbone in BACKBONES and BACKBONES[backbone].source != "ours"


def is_for_backbone(path: Path, backbone: str) -> bool:
    """Returns whether `read_backbone` is to read a path, and not `start_from`.

    Args:
        path: str. A file or a folder.
        backbone: str. The config's backbone.
    """
    import h5py

    if not is_from_keras(backbone) or str(path).endswith(".keras"):
        return False
    try:
        with h5py.File(path, "r") as file:
            return "backbone" not in file  # where our models have the weights of it
    except OSError:
        return True  # `read_backbone` says what is wrong


def read_backbone(config: MaskRCNNConfig, weights: Path) -> keras.Model:
    """Makes the backbone of a config with the weights of a network of Keras.

    Args:
        config: `MaskRCNNConfig`. Its backbone is a name of keras.applications or KerasHub.
        weights: "imagenet", which downloads what Keras publishes; or a path. For keras.applications
            it is an .h5 file of Keras' layout, with or without a classifier: one that Keras
            published, or that `save_weights` of the network wrote. For KerasHub it is a folder of a
            preset.

    Returns:
        Keras model, as of `backbones.build`. The weights are adapted to the number of bands, as
            `backbones.from_keras` does.

    Raises:
        CheckpointError: if the weights cannot be downloaded or read, or do not fit.
    """
    if BACKBONES[config.backbone].source == "keras_hub":
        loaded = _of_keras_hub(config, weights)
    elif weights == "imagenet":
        loaded = building.adopt(_downloaded(config.backbone), config)
    else:
        loaded = building.adopt(_read(config.backbone, weights), config)
    for variable in loaded.weights:
        require_finite(weights, variable.path, np.asarray(variable))
    return loaded


def copy_backbone(model: keras.Model, loaded: keras.Model, weights: Path) -> dict[str, str]:
    """Copies the weights of a backbone of `read_backbone` into a model.

    Args:
        model: MaskRCNN. Changed in place.
        loaded: Keras model.
        weights: str. The name of the weights in messages.

    Returns:
        dict from our variables to the file's: both have the same names.

    Raises:
        CheckpointError: if the model has another backbone.
    """
    ours = model.backbone.weights
    if [tuple(v.shape) for v in ours] != [tuple(v.shape) for v in loaded.weights]:
        raise CheckpointError(
            f"{weights} does not fit the model's backbone {model.config.backbone}. If it holds a "
            "classifier, take the file without one, whose name ends in _notop.h5."
        )
    model.backbone.set_weights(loaded.get_weights())
    return {f"backbone/{v.path}": f"backbone/{v.path}" for v in ours}


def _downloaded(name):
    """Returns the network with the weights that Keras publishes."""
    try:
        return building.body(name, weights="imagenet")
    except Exception as error:  # Keras raises a bare Exception for any error of urllib
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the ImageNet weights of {BACKBONES[name].builder} cannot be downloaded ({reason}). "
            "Without a network, get the file elsewhere and pass its path as `weights`."
        ) from error


def _read(name, path):
    """Returns the network with the weights of a file, which may have a classifier."""
    if not str(path).endswith(".h5"):
        raise CheckpointError(
            f"weights of {name} must be 'imagenet' or an .h5 file of Keras' layout. "
            f"Received: weights={str(path)!r}."
        )
    reason = ""
    for classifier in (False, True):
        network = building.body(name, classifier=classifier)
        unread = _load(network, path)
        if not unread:
            return _without_classifier(network, name) if classifier else network
        reason = reason or unread
    raise CheckpointError(
        f"{path} does not fit keras.applications.{BACKBONES[name].builder}: {reason}"
    )


def _without_classifier(network, name):
    """Returns the network of this name without the classifier, with the same weights.

    ConvNeXt has its last norm after the pooling if it has a classifier, and on the map if not.
    """
    bare, weights = building.body(name), network.get_weights()
    if [tuple(v.shape) for v in bare.weights] == [x.shape for x in weights[: len(bare.weights)]]:
        bare.set_weights(weights[: len(bare.weights)])
        return bare
    return network


def _load(network, path):
    """Loads a file into a new network; returns why not, or ""."""
    variables = [v for v in network.weights if "float" in v.dtype]
    for variable in variables:
        variable.assign(np.full(variable.shape, np.nan))
    try:
        with warnings.catch_warnings():  # Keras warns of layers that a file lacks
            warnings.simplefilter("ignore")
            network.load_weights(os.fspath(path))
    except Exception as error:  # Keras and h5py raise many kinds
        return " ".join(str(error).split())[:300] or type(error).__name__
    missing = [v.path for v in variables if np.isnan(np.asarray(v)).all()]
    return f"it has no {some(missing)}." if missing else ""


def _of_keras_hub(config, weights):
    keras_hub_bodies = importlib.import_module("keras_maskrcnn.backbones.keras_hub_bodies")
    preset = "" if weights == "imagenet" else os.fspath(weights)
    try:
        return keras_hub_bodies.published(config, preset)
    except (OSError, ValueError) as error:
        raise CheckpointError(str(error)) from error
