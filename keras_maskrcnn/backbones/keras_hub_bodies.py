"""The networks of KerasHub that a config can name: their forms, and where their weights are.

The forms are those of KerasHub's presets, so that a network can be built without a download. They
come from the scripts with which KerasHub converted the weights:
`tools/checkpoint_conversion/convert_resnet_vd_checkpoints.py`, `convert_sam_checkpoints.py` and
`convert_mix_transformer.py` of its repository, `src/utils/timm/convert_cspnet.py` of the package.
The same scripts normalize with the mean and the standard deviation of ImageNet, RGB.
"""

import importlib
from typing import Any

import keras
import numpy as np

from keras_maskrcnn.backbones import building, transformers
from keras_maskrcnn.backbones.hub_weights import take
from keras_maskrcnn.catalog import BACKBONES
from keras_maskrcnn.config import MaskRCNNConfig

_RESNET_VD = {
    "input_conv_filters": [32, 32, 64],
    "input_conv_kernel_sizes": [3, 3, 3],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_strides": [1, 2, 2, 2],
}
_DARKNET = {
    "stem_filters": 32,
    "stem_kernel_size": 3,
    "stem_strides": 1,
    "stem_padding": "same",
    "stackwise_depth": [1, 2, 8, 8, 4],
    "stackwise_num_filters": [64, 128, 256, 512, 1024],
    "stackwise_strides": [2, 2, 2, 2, 2],
    "block_type": "dark_block",
}
_CSP_STEM = {
    "stem_filters": 64,
    "stem_kernel_size": 7,
    "stem_strides": 4,
    "stem_padding": "valid",
    "stem_pooling": "max",
    "stackwise_depth": [3, 3, 5, 2],
    "stackwise_strides": [1, 2, 2, 2],
    "block_type": "bottleneck_block",
    "stage_type": "csp",
    "cross_linear": True,
}
_MIT = {
    "hidden_dims": [64, 128, 320, 512],
    "layerwise_num_heads": [1, 2, 5, 8],
    "layerwise_sr_ratios": [8, 4, 2, 1],
    "layerwise_patch_sizes": [7, 3, 3, 3],
    "layerwise_strides": [4, 2, 2, 2],
}
FORMS: dict[str, dict[str, Any]] = {
    "resnet_vd_18": {
        **_RESNET_VD,
        "stackwise_num_blocks": [2, 2, 2, 2],
        "block_type": "basic_block_vd",
    },
    "resnet_vd_34": {
        **_RESNET_VD,
        "stackwise_num_blocks": [3, 4, 6, 3],
        "block_type": "basic_block_vd",
    },
    "resnet_vd_50": {
        **_RESNET_VD,
        "stackwise_num_blocks": [3, 4, 6, 3],
        "block_type": "bottleneck_block_vd",
    },
    "resnet_vd_101": {
        **_RESNET_VD,
        "stackwise_num_blocks": [3, 4, 23, 3],
        "block_type": "bottleneck_block_vd",
    },
    "csp_darknet_53": {
        **_DARKNET,
        "stage_type": "csp",
        "bottle_ratio": [0.5, 1.0],
        "block_ratio": [1.0, 0.5],
        "expand_ratio": [2.0, 1.0],
        "down_growth": True,
    },
    "darknet_53": {
        **_DARKNET,
        "stage_type": "dark",
        "bottle_ratio": [0.5],
    },
    "csp_resnet_50": {
        **_CSP_STEM,
        "stackwise_num_filters": [128, 256, 512, 1024],
        "bottle_ratio": [0.5],
        "expand_ratio": [2.0],
    },
    "csp_resnext_50": {
        **_CSP_STEM,
        "stackwise_num_filters": [256, 512, 1024, 2048],
        "block_ratio": [0.5],
        "groups": 32,
    },
    "mit_b0": {**_MIT, "hidden_dims": [32, 64, 160, 256], "layerwise_depths": [2, 2, 2, 2]},
    "mit_b1": {**_MIT, "layerwise_depths": [2, 2, 2, 2]},
    "mit_b2": {**_MIT, "layerwise_depths": [3, 4, 6, 3]},
    "mit_b3": {**_MIT, "layerwise_depths": [3, 4, 18, 3]},
    "vitdet_base": {
        "hidden_size": 768,
        "num_layers": 12,
        "intermediate_dim": 3072,
        "num_heads": 12,
        "global_attention_layer_indices": [2, 5, 8, 11],
    },
    "vitdet_large": {
        "hidden_size": 1024,
        "num_layers": 24,
        "intermediate_dim": 4096,
        "num_heads": 16,
        "global_attention_layer_indices": [5, 11, 17, 23],
    },
    "vitdet_huge": {
        "hidden_size": 1280,
        "num_layers": 32,
        "intermediate_dim": 5120,
        "num_heads": 16,
        "global_attention_layer_indices": [7, 15, 23, 31],
    },
}
"""Arguments of KerasHub's class, or of our ViTDet and MiT, by the name of the backbone."""

PRESETS = {
    **{f"resnet_vd_{depth}": f"resnet_vd_{depth}_imagenet" for depth in (18, 34, 50, 101)},
    "csp_darknet_53": "csp_darknet_53_ra_imagenet",
    "csp_resnet_50": "csp_resnet_50_ra_imagenet",
    "csp_resnext_50": "csp_resnext_50_ra_imagenet",
    "darknet_53": "darknet_53_imagenet",
    **{f"mit_b{i}": f"mit_b{i}_ade20k_512" for i in range(4)},
    **{f"vitdet_{size}": f"sam_{size}_sa1b" for size in ("base", "large", "huge")},
}
"""KerasHub's preset with the published weights of each backbone."""


def build(config: MaskRCNNConfig) -> keras.Model:
    """Builds a backbone with random weights.

    Args:
        config: `MaskRCNNConfig`. Its `backbone` is a name of `FORMS`.

    Returns:
        Functional Keras model as of `backbones.from_keras`.

    Raises:
        ImportError: if the extra keras-hub is needed and not installed. ViTDet and MiT are ours,
            and need it only for published weights.
    """
    return adopt(body(config.backbone, side_of(config)), config)


def side_of(config: MaskRCNNConfig) -> int:
    """Returns the largest side of a padded image in pixels: ViTDet has positions up to there."""
    return -(-config.image_max_side // config.padding_multiple) * config.padding_multiple


def body(name: str, side: int = 1024) -> keras.Model:
    """Builds a network with random weights.

    Args:
        name: str. A key of `FORMS`.
        side: int. Largest side of an image, for ViTDet.

    Returns:
        Keras model that takes normalized images.

    Raises:
        ImportError: as in `build`.
    """
    builder = BACKBONES[name].builder
    if builder == "MiTBackbone":
        return transformers.mit(**FORMS[name])
    if builder == "ViTDetBackbone":
        return transformers.vitdet(side=side, **FORMS[name])
    return getattr(keras_hub(name).models, builder)(**FORMS[name])


def adopt(network: keras.Model, config: MaskRCNNConfig) -> keras.Model:
    """Makes the backbone of a config from a network that takes normalized images.

    Args:
        network: functional Keras model, as of `body`.
        config: `MaskRCNNConfig`. Its `backbone` is a name of `FORMS`.

    Returns:
        Functional Keras model as of `backbones.from_keras`, named as config.backbone.
    """
    entry = BACKBONES[config.backbone]
    mean, std = (np.array(numbers, np.float32) for numbers in entry.normalization)
    return building.adopt(network, config, lambda images: (images - mean) / std)


def published(config: MaskRCNNConfig, preset: str = "") -> keras.Model:
    """Builds a backbone with the weights of a preset of KerasHub.

    Args:
        config: `MaskRCNNConfig`. Its `backbone` is a name of `FORMS`.
        preset: str. A name, as in `keras_hub.models.Backbone.from_preset`, or a folder. "": that of
            `PRESETS`, which is downloaded once.

    Returns:
        Functional Keras model as of `backbones.from_keras`.

    Raises:
        ImportError: if the extra keras-hub is not installed.
        OSError: if the preset cannot be downloaded or read.
        ValueError: if the preset is of another network.
    """
    name = config.backbone
    builder, preset = BACKBONES[name].builder, preset or PRESETS[name]
    backbones = keras_hub(f"the weights of {name}").models.Backbone
    try:
        network = backbones.from_preset(preset)
    except Exception as error:  # each place that KerasHub downloads from has errors of its own
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise OSError(
            f"KerasHub's weights {preset!r} cannot be loaded. Offline, give a folder that KerasHub "
            f"wrote, for instance weights='{PRESETS[name]}/'. Received: {cause}."
        ) from error
    network = getattr(network, "image_encoder", network)  # of SAM
    _require_form(name, builder, network, preset)
    if builder in ("MiTBackbone", "ViTDetBackbone"):
        ours = body(name, side_of(config))
        take(ours, network)
        network = ours
    return adopt(network, config)


def keras_hub(what: str) -> Any:
    """Imports keras_hub.

    Args:
        what: str. What needs it, for the error.

    Raises:
        ImportError: if the extra keras-hub is not installed.
    """
    try:
        return importlib.import_module("keras_hub")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{what} needs the extra keras-hub: pip install keras3-maskrcnn[keras-hub]. "
            f"Received: {error}."
        ) from error


def _require_form(name, builder, network, preset):
    """Refuses a preset of another network. KerasHub's large and huge SAM may be exchanged."""
    found = type(network).__name__
    if found == builder:
        config = network.get_config()
        wanted = FORMS[name]
        found = {k: _listed(config.get(k)) for k in wanted}
        if found == {k: _listed(v) for k, v in wanted.items()}:
            return
        found = {k: v for k, v in found.items() if v != _listed(wanted[k])}
    raise ValueError(f"{preset!r} must be a {name} of KerasHub. Received: {found}.")


def _listed(value):
    return list(value) if isinstance(value, tuple) else value
