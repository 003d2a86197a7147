"""Builds the backbone that a config names, if it is one of keras.applications or KerasHub."""

import importlib

import keras

from keras_maskrcnn.backbones.adopting import from_keras
from keras_maskrcnn.backbones.normalizing import Preprocess
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.config import MaskRCNNConfig

# NASNet compares the sizes of maps when it is built, so it needs one. All networks here give the
# same for every multiple of 32. MobileNetV2 has weights for this side.
_SIDE = 224


def build(config: MaskRCNNConfig) -> keras.Model:
    """Builds a backbone with random weights.

    Args:
        config: `MaskRCNNConfig`. Its `backbone` is a name of keras.applications or KerasHub.

    Returns:
        Functional Keras model as of `from_keras`, for images of len(config.pixel_mean) bands.

    Raises:
        ValueError: if the network has no layers for config.stochastic_depth.
        ImportError: if the extra keras-hub is needed and not installed.
    """
    if BACKBONES[config.backbone].source == "keras_hub":
        return importlib.import_module("keras_maskrcnn.backbones.keras_hub_bodies").build(config)
    return adopt(body(config.backbone), config)


def body(name: str, *, weights: str | None = None, classifier: bool = False) -> keras.Model:
    """Builds a network of keras.applications.

    Args:
        name: str. A name of `catalog.BACKBONES` with the source "keras".
        weights: "imagenet", which downloads what Keras publishes; or None for random weights.
        classifier: bool. Whether to build the classifier of 1000 classes, too.

    Returns:
        Keras model, with the normalization that keras.applications gives it.

    Raises:
        Exception: if the download fails.
    """
    builder = getattr(keras.applications, BACKBONES[name].builder)
    return builder(weights=weights, include_top=classifier, input_shape=(_SIDE, _SIDE, 3))


def adopt(
    network: keras.Model, config: MaskRCNNConfig, preprocess: Preprocess | None = None
) -> keras.Model:
    """Makes the backbone of a config from a network: `from_keras` with the config's fields.

    Args:
        network: functional Keras model.
        config: `MaskRCNNConfig`.
        preprocess: as in `from_keras`.

    Returns:
        Functional Keras model, named as config.backbone.
    """
    backbone = from_keras(
        network,
        preprocess=preprocess,
        norm=config.norm,
        frozen_stages=config.frozen_stages,
        stochastic_depth=config.stochastic_depth,
        channels=len(config.pixel_mean),
    )
    named = keras.Model(backbone.input, backbone.output, name=config.backbone)
    named.pixel_mean, named.pixel_std = backbone.pixel_mean, backbone.pixel_std
    named.maps = backbone.maps
    return named
