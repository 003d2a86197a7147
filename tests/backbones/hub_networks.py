"""Small networks of KerasHub, with random weights, and their names."""

import numpy as np
import pytest

keras_hub = pytest.importorskip("keras_hub", reason="keras-hub (extra keras-hub) is missing")


def tiny_vitdet(side=96):
    """A ViTDet with a block in windows and one over the whole map, with SAM's neck."""
    return randomized(
        keras_hub.models.ViTDetBackbone(
            hidden_size=16,
            num_layers=2,
            intermediate_dim=32,
            num_heads=2,
            global_attention_layer_indices=[1],
            image_shape=(side, side, 3),
            num_output_channels=8,
            window_size=4,
        )
    )


def tiny_mit(side=64):
    """A MiT with one block per stage, but two in the second."""
    return randomized(
        keras_hub.models.MiTBackbone(
            layerwise_depths=[1, 2, 1, 1],
            num_layers=4,
            layerwise_num_heads=[1, 2, 2, 4],
            layerwise_sr_ratios=[8, 4, 2, 1],
            max_drop_path_rate=0.1,
            layerwise_patch_sizes=[7, 3, 3, 3],
            layerwise_strides=[4, 2, 2, 2],
            image_shape=(side, side, 3),
            hidden_dims=[8, 8, 16, 16],
        )
    )


def randomized(network):
    """Gives a network weights that differ from their initial values, so that a mix-up shows."""
    rng = np.random.default_rng(0)
    for variable in network.weights:
        shape, name = variable.shape, variable.name
        if name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, shape))
        elif "seed" not in name:
            variable.assign(rng.normal(0, 0.2, shape))
    return network
