"""Changes of layers are kept when a model is saved and loaded, copied or cloned."""

import json

import keras
import numpy as np
import pytest

from keras_maskrcnn import training
from keras_maskrcnn.layers.changes import apply_changes, state_of_layers
from keras_maskrcnn.model import MaskRCNN


@pytest.fixture(scope="module")
def changed(tiny_config):
    """A model with one layer or network for each kind of change."""
    keras.utils.set_random_seed(0)
    model = MaskRCNN(tiny_config)
    model.backbone.trainable = False
    training.freeze(model, ["mask_head:conv1"])
    model.fpn.layers[-1].trainable = False
    model.backbone.get_layer("res5_1_conv2").norm.trainable = True
    fc1, fc2, *_ = (layer for layer in model.box_head.layers if layer.weights)
    fc1.enable_lora(4, lora_alpha=2)
    fc1.lora_kernel_b.assign(np.random.default_rng(0).normal(size=fc1.lora_kernel_b.shape))
    fc2.dtype_policy = "mixed_bfloat16"
    model.box_head.get_layer("class_logits").quantize("int8")
    model.box_head.get_layer("box_deltas").quantize("float8")
    return model


def outputs(model):
    pooled = np.random.default_rng(0).normal(size=(5, 7, 7, 16)).astype(np.float32)
    return [np.asarray(value) for value in model.box_head(pooled)]


def assert_same(model, expected):
    assert json.dumps(state_of_layers(model)) == json.dumps(state_of_layers(expected))
    for get in (lambda m: m.weights, lambda m: m.trainable_variables):
        ours, theirs = ([(v.path, v.dtype, v.shape) for v in get(m)] for m in (model, expected))
        assert ours == theirs


def test_a_file_brings_back_what_was_changed(changed, tmp_path):
    changed.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded, changed)
    for ours, theirs in zip(outputs(loaded), outputs(changed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # Keras adds LoRA's product to the saved kernel and zeros both factors. Unless one factor gets
    # new values, neither would ever get a gradient.
    fc1 = loaded.box_head.get_layer("fc1")
    assert not np.any(fc1.lora_kernel_b) and np.all(np.any(fc1.lora_kernel_a, axis=0))
    # The same holds for a file of weights that is loaded into such a model.
    changed.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    for ours, theirs in zip(outputs(loaded), outputs(changed), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_copy_and_a_clone_have_what_was_changed(changed):
    copy = changed.with_config(detections_per_image=7)
    assert_same(copy, changed)
    for ours, theirs in zip(copy.weights, changed.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_same(keras.models.clone_model(changed), changed)
    with pytest.raises(ValueError, match="the box_head of the two models differ"):
        MaskRCNN(changed.config).copy_networks(changed)


def test_what_is_not_changed_takes_no_place(tiny_config, changed):
    plain = MaskRCNN(tiny_config)
    assert "changes" not in plain.get_config()
    assert not plain.with_config(frozen_stages=2).backbone.get_layer("stem").trainable
    again = MaskRCNN.from_config(plain.get_config())
    assert state_of_layers(again) == state_of_layers(plain)
    plain.trainable = False
    assert not MaskRCNN.from_config(plain.get_config()).trainable_variables


def test_a_quantization_that_would_not_come_back_is_refused(tiny_config, tmp_path):
    model = MaskRCNN(tiny_config)
    # The state after quantize("gptq"), which would need a language model's data.
    policy = keras.dtype_policies.get("gptq/4/-1_from_float32")
    model.box_head.get_layer("fc1")._dtype_policy = policy
    with pytest.raises(ValueError, match="Received: box_head/fc1 with quantization='gptq'"):
        model.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        ("fpn/nowhere", {}, "no layer with this path. Received: path='fpn/nowhere'"),
        ("fpn", 3, "the layer fpn does not allow this change: .* Received: 3.$"),
        ("fpn", {"dtype": "x" * 999}, "^the layer fpn does not allow this change: .{,300}$"),
        ("box_head/fc1", {"call": 1}, "box_head/fc1 does not allow this .*Received: {'call': 1}"),
        ("box_head/fc1", {"lora_rank": 10**9}, "must be in 1..784, .*'lora_rank': 1000000000}"),
        (
            "box_head/fc1",
            {"dtype": "float9"},
            "box_head/fc1 does not allow .* Received: {'dtype': 'float9'}",
        ),
        (
            "box_head/fc1",
            {"quantization": {"module": "os"}},
            "must be one of keras.quantizers. Received",
        ),
        (
            "fpn",
            {"lora_rank": 2},
            "the layer fpn does not allow this change: .* Received: {'lora_rank': 2}",
        ),
    ],
)
def test_changes_of_a_file_are_checked(shared_model, path, change, message):
    with pytest.raises(ValueError, match=message):
        apply_changes(shared_model, {path: change})
    with pytest.raises(ValueError, match="^changes must be a dict, by layer. Received: "):
        apply_changes(shared_model, [change])


def test_a_map_of_policies_is_none_that_is_refused(tiny_config):
    policy = keras.dtype_policies.DTypePolicyMap(default_policy="float32")
    assert "changes" not in MaskRCNN(tiny_config, dtype=policy).get_config()


@pytest.fixture(scope="module")
def shared_model(tiny_config):
    return MaskRCNN(tiny_config)


@pytest.mark.parametrize("before", [True, False], ids=["passed in so", "changed later"])
def test_lora_of_a_part_from_outside_comes_back_and_can_go_on(tiny_config, before, tmp_path):
    images = keras.Input((None, None, 3))
    maps = {f"c{i}": keras.layers.Conv2D(8, 3, 2**i, padding="same")(images) for i in range(2, 6)}
    backbone = keras.Model(images, maps)
    if before:
        backbone.layers[1].enable_lora(2)
    model = MaskRCNN(tiny_config, backbone=backbone)
    if not before:
        backbone.layers[1].enable_lora(2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded, model)
    assert np.all(np.any(loaded.backbone.layers[1].lora_kernel_a, axis=0))
    assert_same(model.with_config(detections_per_image=7), model)
