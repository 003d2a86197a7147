"""The parts of a model: checks those that are passed in, and builds the others from the config."""

import dataclasses
import re
import reprlib
from collections.abc import Collection
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from absl import logging

from keras_maskrcnn import catalog, networks
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.config_rules import shown
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork

# Fields that a passed-in backbone may change. The stages never see pixels.
_PIXELS = ("pixel_mean", "pixel_std")
# The arguments of `MaskRCNN`, and the attributes that hold them.
PARTS = {"backbone": "backbone", "neck": "fpn", "rpn": "rpn", "roi_heads": "roi_heads"}


class Parts(NamedTuple):
    """The parts of Figure 1. A part is None if the config has no such part."""

    backbone: keras.Model
    neck: keras.Model | None
    rpn: RegionProposalNetwork | None
    roi_heads: RoIHeads | None


def assemble(
    config: MaskRCNNConfig,
    backbone: keras.Model | None,
    neck: keras.Model | None,
    rpn: RegionProposalNetwork | None,
    roi_heads: RoIHeads | None,
) -> Parts:
    """Builds the parts that are None, and checks the others.

    Raises:
        ValueError: if `config` is no `MaskRCNNConfig`. If a backbone or neck lacks a map that the
            config's neck needs, or the map has another stride. If a backbone of `from_keras` would
            get images whose sides are no multiples of 32. If a stage has another class or config.
            If a part was made outside of the strategy's scope.
    """
    if not isinstance(config, MaskRCNNConfig):
        raise ValueError(
            "config must be a MaskRCNNConfig; for a preset's name use MaskRCNN.from_preset. "
            f"Received: config={reprlib.repr(config)}."
        )
    from_outside = any(part is not None for part in (backbone, neck, rpn, roi_heads))
    _check_stages(config, rpn, roi_heads)
    backbone = backbone or networks.build_backbone(config)
    neck = neck or networks.build_neck(config, backbone)
    channels = networks.channels_of_maps(config, backbone, neck)
    rpn = rpn or networks.build_rpn(config, channels)
    parts = Parts(backbone, neck, rpn, roi_heads or networks.build_roi_heads(config, channels))
    if getattr(backbone, "maps", None) and config.padding_multiple % 32:
        raise ValueError(  # networks like NASNet join maps whose sizes would differ
            "padding_multiple must be a multiple of 32 for a backbone of from_keras. "
            f"Received: padding_multiple={config.padding_multiple}."
        )
    if from_outside:
        networks.require_strides(config, backbone, neck)
        _require_scope(networks_of(parts))
    return parts


def with_pixels_of(config: MaskRCNNConfig, backbone: keras.Model | None) -> MaskRCNNConfig:
    """Returns the config with the normalization that a passed-in backbone expects.

    Args:
        config: `MaskRCNNConfig`.
        backbone: Keras model; None if none was passed in. Those of `backbones.from_keras` have the
            attributes `pixel_mean` and `pixel_std`.

    Returns:
        The config with these numbers, if its own are the defaults of its own backbone. Otherwise
            the same config; a warning names both.

    Raises:
        ValueError: if the backbone needs another number of bands than config.in_channels.
    """
    mean, std = (getattr(backbone, name, None) for name in _PIXELS)
    if mean is None or std is None or not isinstance(config, MaskRCNNConfig):
        return config  # `assemble` refuses what is no config
    ours = (config.pixel_mean, config.pixel_std)
    if ours == (mean, std):
        return config
    if ours == catalog.normalization(config.backbone, config.in_channels):
        return dataclasses.replace(config, pixel_mean=mean, pixel_std=std)
    logging.warning(
        "the config normalizes images otherwise than the weights of the backbone expect. "
        "Received: pixel_mean=%s, pixel_std=%s; the backbone has %s and %s.",
        *ours,
        mean,
        std,
    )
    return config


def networks_of(parts: Parts, taken: Collection[str] = ()) -> dict[str, keras.Model | None]:
    """Returns a dict of the Keras models of all parts, by their names in files.

    Args:
        parts: Parts.
        taken: names that a network of a stage must not have.

    Raises:
        ValueError: if a network has the name of another network, or a name in `taken`.
    """
    found: dict[str, keras.Model | None] = {"backbone": parts.backbone, "fpn": parts.neck}
    for stage in (parts.rpn, parts.roi_heads):
        for name, network in ({} if stage is None else stage.networks).items():
            if name in (*PARTS, *taken) or found.get(name, network) is not network:
                raise ValueError(
                    "a network of a stage needs a name that the model does not use yet. "
                    f"Received: {name!r}, of {type(stage).__name__}."
                )
            found[name] = network
    return found


def _check_stages(config, rpn, roi_heads):
    """Refuses passed-in stages that do not fit the config."""
    for name, stage, kind, task in (
        ("rpn", rpn, RegionProposalNetwork, config.proposals != "precomputed"),
        ("roi_heads", roi_heads, RoIHeads, config.task != "proposals"),
    ):
        if stage is not None and not isinstance(stage, kind):
            raise ValueError(
                f"{name} must be a {kind.__name__} or an instance of a subclass. "
                f"Received: {name}={reprlib.repr(stage)}."
            )
        if stage is not None and not task:
            raise ValueError(
                f"a model without {name} takes none. "
                f"Received: task={config.task!r}, proposals={config.proposals!r}."
            )
        if stage is not None:
            fields = dataclasses.asdict(config)
            theirs = dataclasses.asdict(stage.config)
            different = {k: v for k, v in theirs.items() if v != fields[k] and k not in _PIXELS}
        if stage is not None and different:
            raise ValueError(
                f"{name} must have the model's config. "
                f"Received: one with {reprlib.repr(different)}."
            )
    if roi_heads is not None and (config.task == "masks") != ("mask" in roi_heads.loss_names):
        raise ValueError(
            "roi_heads must have a mask head if, and only if, task is 'masks'. "
            f"Received: task={config.task!r}, losses={roi_heads.loss_names}."
        )


def _require_scope(found):
    """Refuses networks that were made outside of the strategy's scope: `fit` would fail."""
    extended = tf.distribute.get_strategy().extended
    for name, network in found.items():
        weights = [] if network is None else network.weights
        if not all(extended.variable_created_in_scope(v.value) for v in weights):
            raise ValueError(
                "parts must be made in the strategy scope in which the model is made. "
                f"Received: {name}={network!r}."
            )


def require_same_bands(config: MaskRCNNConfig, overrides: dict[str, Any]) -> None:
    """Refuses another number of bands for the weights of a model.

    Args:
        config: `MaskRCNNConfig` of the model.
        overrides: dict of field to value, the arguments of `MaskRCNN.with_config`.

    Raises:
        ValueError: if the first kernel would need another shape.
    """
    bands = overrides.get("in_channels", config.in_channels)
    if len(config.pixel_mean) not in (bands, 3 if bands == 1 else bands):
        _refuse_shapes(overrides)


def require_same_shapes(model: keras.Model, copy: keras.Model, overrides: dict[str, Any]) -> None:
    """Refuses a copy of a model that cannot take its weights.

    Args:
        model: MaskRCNN.
        copy: MaskRCNN with other values of config fields.
        overrides: dict of these fields to the values.

    Raises:
        ValueError: if the shapes of the weights differ.
    """
    ours, theirs = ([tuple(v.shape) for v in one.weights] for one in (model, copy))
    if ours != theirs:
        _refuse_shapes(overrides)


def _refuse_shapes(overrides):
    received = ", ".join(f"{name}={shown(value)}" for name, value in overrides.items())
    raise ValueError(
        "fields of with_config must change no weight's shape; make another model with them, and "
        "copy the weights that fit: weights.start_from(other, model, 'the first model'). "
        f"Received: {received}."
    )


def revive(stored: dict[str, dict[str, Any]], config: MaskRCNNConfig) -> dict[str, Any]:
    """Makes parts from their description in a file. Their weights are loaded later.

    Args:
        stored: dict. Maps arguments of `MaskRCNN` to results of
            keras.saving.serialize_keras_object.
        config: MaskRCNNConfig of the model. It replaces the config of the stored stages.

    Raises:
        ValueError: if Keras does not know a class.
    """
    parts = {}
    for name, part in stored.items():
        if name in ("rpn", "roi_heads"):
            inner = {**part["config"], "config": dataclasses.asdict(config)}
            part = {**part, "config": inner}
        try:
            parts[name] = keras.saving.deserialize_keras_object(part)
        except TypeError as error:  # Keras' message contains the whole config, and hides the cause
            unknown = re.search(r"Could not locate class '(\w+)'", str(error))
            if not unknown:
                raise
            raise ValueError(
                f"the {name} has an unknown class: register it with keras.saving."
                "register_keras_serializable, and import its module before the model is loaded. "
                f"Received: {unknown[1]}."
            ) from error
    return parts
