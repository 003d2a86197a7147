from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import networks
from keras_maskrcnn.layers.simple_fpn import simple_fpn
from keras_maskrcnn.model import MaskRCNN


def layer_norm(x, gamma, beta):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * gamma + beta


def gelu(x):
    return x / 2 * (1 + tf.math.erf(x / np.sqrt(2)).numpy())


def deconvolution(x, kernel, bias):
    """Each cell becomes 2 x 2 cells. The kernel is (2, 2, filters, channels)."""
    batch, height, width, _ = x.shape
    out = np.zeros((batch, 2 * height, 2 * width, len(bias)))
    for i in (0, 1):
        for j in (0, 1):
            out[:, i::2, j::2] = x @ kernel[i, j].T + bias
    return out


def convolution(x, kernel):
    """With zeros around the map. The kernel is (side, side, channels, filters)."""
    pad, (height, width) = kernel.shape[0] // 2, x.shape[1:3]
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    return sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    )


def max_pool(x):
    batch, height, width, depth = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, depth).max(axis=(2, 4))


def detectron2s(x, weights):
    """`SimpleFeaturePyramid.forward` with LastLevelMaxPool, in NumPy.

    The source is detectron2/modeling/backbone/vit.py, commit 0818132. `weights` is a dict of layer
    name to its arrays, in the order in which detectron2 uses them.
    """

    def last(x, level):
        for name in (f"lateral{level}", f"output{level}"):
            kernel, gamma, beta = weights[name]
            x = layer_norm(convolution(x, kernel), gamma, beta)
        return x

    quarter = deconvolution(x, *weights["up2a"])
    quarter = gelu(layer_norm(quarter, *weights["up2a_norm"]))
    quarter = deconvolution(quarter, *weights["up2b"])
    maps = {
        "p2": last(quarter, 2),
        "p3": last(deconvolution(x, *weights["up3"]), 3),
        "p4": last(x, 4),
        "p5": last(max_pool(x), 5),
    }
    return {**maps, "p6": maps["p5"][:, ::2, ::2]}


@pytest.fixture(scope="module")
def model():
    return simple_fpn(16, channels=6)


def test_equals_the_formula_of_detectron2(model):
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    weights = {x.name: [np.asarray(v, np.float64) for v in x.weights] for x in model.layers}
    c4 = rng.normal(size=(2, 4, 6, 16))
    found = model({"c4": c4.astype(np.float32)})
    assert list(found) == ["p2", "p3", "p4", "p5", "p6"]
    for name, expected in detectron2s(c4, weights).items():
        np.testing.assert_allclose(found[name], expected, atol=2e-4, err_msg=name)


def test_levels_have_strides_4_to_64(model):
    found = model.compute_output_shape({"c4": (None, 64, 40, 16)})
    sides = {name: shape[1:] for name, shape in found.items()}
    assert sides == {
        "p2": (256, 160, 6),
        "p3": (128, 80, 6),
        "p4": (64, 40, 6),
        "p5": (32, 20, 6),
        "p6": (16, 10, 6),
    }


@pytest.mark.parametrize(
    ("norm", "weights"), [("layer", 3), ("group", 3), ("batch", 5), ("frozen_batch", 5)]
)
def test_norm_is_that_of_the_convolutions(norm, weights):
    model = simple_fpn(16, channels=32, norm=norm)
    assert len(model.get_layer("lateral4").weights) == weights
    assert isinstance(model.get_layer("up2a_norm"), keras.layers.LayerNormalization)


@pytest.mark.parametrize(("head_norm", "norm"), [("", "layer"), ("batch", "batch")])
def test_a_config_chooses_it_and_its_norm(tiny_config, head_norm, norm):
    config = replace(tiny_config, neck="simple_fpn", backbone_width=8, head_norm=head_norm)
    backbone = networks.build_backbone(config)
    assert list(backbone.output) == ["c2", "c3", "c4"]  # res5 would be of no use
    neck = networks.build_neck(config, backbone)
    assert neck.name == "simple_fpn" and neck.get_layer("output5").norm_name == norm
    networks.require_strides(config, backbone, neck)


def test_starts_from_weights_that_keep_the_size_of_its_input():
    """As PyTorch's default. Without a norm, other weights would make the maps grow or vanish."""
    model = simple_fpn(64, channels=64, norm="")
    found = model({"c4": tf.random.normal([1, 16, 16, 64])})
    for name, value in found.items():
        assert 0.01 < float(tf.math.reduce_std(value)) < 1, name


@pytest.mark.filterwarnings("error:The structure of")
def test_a_model_gives_it_c4_of_a_backbone_with_more_maps(tiny_config, batch):
    config = replace(tiny_config, backbone_width=8)
    backbone = networks.build_backbone(config)
    assert "c5" in backbone.output
    model = MaskRCNN(replace(config, neck="simple_fpn"), backbone=backbone)
    sides = {name: tuple(x.shape[1:3]) for name, x in model.features(batch[0]).items()}
    assert sides == {"p2": (16, 24), "p3": (8, 12), "p4": (4, 6), "p5": (2, 3), "p6": (1, 2)}
