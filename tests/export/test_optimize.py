"""Compares exports with folded and smaller weights with the model that they were made from."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.export.optimize import folded_copy, inference_function, quantize
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import boxes as box_ops


def networks_outputs(model, canvas):
    """Returns the networks' outputs before NMS, which can turn a small difference into a large."""
    features, heads = model.features(canvas), model.roi_heads
    rois = tf.constant([[[4.0, 4, 60, 40], [10, 20, 30, 60]]])
    logits, deltas, _ = heads.box_branch(features, rois)
    masks = heads.mask_branch(features, rois)
    levels = [level for level, _ in (model.rpn_head(x) for x in features.values())]
    return [np.float32(x) for x in (logits, deltas, masks, *levels)]


@pytest.mark.parametrize(
    "overrides",
    [
        {"norm": "frozen_batch"},
        {"norm": "batch", "head_norm": "batch"},
        {"norm": "group"},
        {"neck": "c4", "mask_pool_size": 7, "box_head_layers": 0, "mask_head_convs": 0},
        {"task": "boxes"},
    ],
    ids=str,
)
def test_folding_changes_nothing(lively, tiny_config, canvas, overrides):
    model = lively(tiny_config, **overrides)
    found, expected = inference_function(model)(canvas), model(canvas, training=False)
    assert expected["num_detections"][0] > 0
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_folded_copy_has_no_norm_and_leaves_the_model_alone(lively, tiny_config):
    model = lively(tiny_config)
    before = model.get_weights()
    copy = folded_copy(model)
    assert {weight.name for weight in copy.weights} == {"kernel", "bias"}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_kernels_are_rounded_to_steps_of_a_127th_of_each_channels_greatest_weight():
    kernel = tf.constant([[12.7, 0.0, -1.0], [-1.04, 0.0, 0.5]])
    whole, scale = quantize(kernel)
    np.testing.assert_array_equal(whole, [[127, 0, -127], [-10, 0, 64]])
    np.testing.assert_allclose(scale, [0.1, 1.0, 1 / 127], rtol=1e-6)


# bfloat16 has 8 bits: an error of 2^-9 in each of about twenty layers. The error of int8 kernels is
# up to 1/254 of a channel's greatest weight.
@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_smaller_weights_change_the_networks_by_less_than_a_twentieth(
    lively, tiny_config, canvas, precision
):
    model = lively(tiny_config)
    copy = folded_copy(model, "bfloat16" if precision == "bfloat16" else None)
    if precision == "int8":
        for weight in copy.weights:
            if len(weight.shape) > 1:
                whole, scale = quantize(weight)
                weight.assign(tf.cast(whole, tf.float32) * scale)
    pairs = zip(networks_outputs(copy, canvas), networks_outputs(model, canvas), strict=True)
    for found, expected in pairs:
        assert np.abs(found - expected).mean() < 0.05 * expected.std()


@pytest.mark.slow
def test_smaller_weights_find_what_a_trained_model_finds(tiny_config, batch):
    model = MaskRCNN(dataclasses.replace(tiny_config, score_threshold=0.3))
    model.compile(optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=10.0))
    model.fit(tf.data.Dataset.from_tensors(batch).repeat(200), verbose=0)
    expected = model(batch[0], training=False)
    confident = expected["scores"].numpy() > 0.5
    assert confident.any()
    for precision in ("bfloat16", "int8"):
        found = inference_function(model, precision)(batch[0])
        same = expected["labels"][:, :, None] == found["labels"][:, None]
        overlaps = tf.where(same, box_ops.iou(expected["boxes"], found["boxes"]), 0.0)
        assert (tf.reduce_max(overlaps, axis=2).numpy()[confident] > 0.8).all(), precision


# The graph fuses operations. It therefore rounds to bfloat16 less often than eager mode does.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "share", "atol"), [("bfloat16", 0.55, 0.02), ("int8", 0.3, 1e-4)]
)
def test_a_saved_model_of_smaller_weights_is_smaller(
    lively, tiny_config, canvas, tmp_path, precision, share, atol
):
    model = lively(tiny_config)
    model.export(tmp_path / "1", precision=precision, verbose=False)
    stored = sum(path.stat().st_size for path in (tmp_path / "1" / "variables").iterdir())
    assert stored < share * 4 * folded_copy(model).count_params()
    images = tf.cast(canvas["images"], tf.uint8)
    found = tf.saved_model.load(tmp_path / "1").signatures["serving_default"](images)
    expected = inference_function(model, precision)(images)
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=atol)


def test_an_unknown_precision_is_refused(tiny_config, lively):
    with pytest.raises(ValueError, match="precision='int4'"):
        inference_function(lively(tiny_config), "int4")


def test_quantized_layers_and_lora_are_those_of_the_model(tiny_config):
    model = MaskRCNN(tiny_config)
    fc1, fc2 = (model.box_head.get_layer(name) for name in ("fc1", "fc2"))
    fc1.enable_lora(4)
    fc1.lora_kernel_b.assign(np.random.default_rng(0).normal(size=fc1.lora_kernel_b.shape))
    fc2.quantize("int8")
    pooled = np.random.default_rng(1).normal(size=(5, 7, 7, 16)).astype(np.float32)
    found, expected = (m.box_head(pooled) for m in (folded_copy(model), model))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(
        ValueError, match="without `precision`. Received: layer box_head/fc1, .*'float32'"
    ):
        folded_copy(model, "float32")
