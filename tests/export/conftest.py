"""A tiny model that detects something, and inputs for it."""

import dataclasses

import numpy as np
import pytest

from keras_maskrcnn.model import MaskRCNN


@pytest.fixture(scope="session")
def lively():
    """A function from a config to a model with random norms, whose scores vary."""

    def build(config, **overrides):
        model = MaskRCNN(dataclasses.replace(config, score_threshold=0.0, **overrides))
        rng = np.random.default_rng(0)
        for weight in model.weights:
            layer = weight.path.split("/")[-2]
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.7, 1.4, weight.shape))
            elif layer in ("norm", "logits", "class_logits", "box_deltas", "deltas"):
                weight.assign(rng.normal(0, 0.1, weight.shape))
        return model

    return build


@pytest.fixture
def canvas():
    """One image of 64 x 80 on a canvas of 64 x 96, as an input of `MaskRCNN`."""
    images = np.random.default_rng(1).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    size = np.array([[64, 80]], np.int32)
    return {"images": images, "sizes": size, "original_sizes": size}
