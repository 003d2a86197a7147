"""Describes an exported model: the text that each format keeps beside the graph."""

import dataclasses
import json
from typing import Any

import keras
import tensorflow as tf

from keras_maskrcnn._version import __version__
from keras_maskrcnn.presets import preset_of

KEY = "keras_maskrcnn"
"""Name of the description among a file's metadata; `runtime.description` reads it."""


def describe(model: keras.Model, *, masks: str, precision: str | None, **more: Any) -> str:
    """Returns a JSON text of classes, config, options and versions.

    Args:
        model: MaskRCNN.
        masks: str. The form of the masks, as in `export_saved_model`.
        precision: str. Of the export; None for that of the model.
        **more: other options of the export.

    Returns:
        str. A dict of "class_names", "category_ids", "class_thresholds" (empty if there are none),
            "masks", "precision", the other options, "preset" (a name, or null), "in_channels",
            "image_dtype" and "pixel_max" of the images that the export takes, "config" (a dict of
            the fields of `MaskRCNNConfig`), and the versions "keras_maskrcnn", "keras" and
            "tensorflow".
    """
    content = {
        "class_names": model.config.names(),
        "category_ids": model.config.ids(),
        "class_thresholds": model.config.class_thresholds,
        "masks": masks,
        "precision": precision or model.compute_dtype,
        **more,
        "preset": preset_of(model.config),
        "in_channels": model.config.in_channels,
        "image_dtype": model.config.image_dtype,
        "pixel_max": model.config.pixel_max,
        "config": dataclasses.asdict(model.config),
        "keras_maskrcnn": __version__,
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }
    return json.dumps(content, indent=1)
