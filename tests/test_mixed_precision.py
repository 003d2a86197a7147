"""Networks compute in 16 bits, boxes stay in 32 bits, and float16 scales its losses."""

import contextlib
import dataclasses
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import decode, losses, targets, training
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import boxes

LEAVES = (boxes, decode, losses, targets)


def compiled(config, policy, scope=None):
    with scope or contextlib.nullcontext():
        model = MaskRCNN(config, dtype=policy)
        model.compile(training.sgd(0.01, warmup_steps=0, clip_norm=1.0))
    return model


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_boxes_targets_and_losses_are_float32_inside(tiny_config, batch, monkeypatch, policy):
    dtypes = {}

    def spy(module, name, function):
        def call(*args, **kwargs):
            out = function(*args, **kwargs)
            floating = {x.dtype for x in tf.nest.flatten(out) if x.dtype.is_floating}
            dtypes.setdefault(f"{module}.{name}", set()).update(floating)
            return out

        return call

    for module in LEAVES:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("_") and function.__module__ == module.__name__:
                monkeypatch.setattr(module, name, spy(module.__name__, name, function))
    model = MaskRCNN(tiny_config, dtype=policy)
    assert model.mask_head.compute_dtype == policy.removeprefix("mixed_")
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    model.compute_losses(inputs, gt)
    model(inputs)
    assert {name.split(".")[-1] for name in dtypes} >= {
        "iou",
        "encode",
        "decode",
        "proposals",
        "detections",
        "anchor_labels",
        "sample_rois",
        "mask_targets",
        "objectness_loss",
        "box_loss",
        "classifier_loss",
        "mask_loss",
    }
    assert {name: kinds for name, kinds in dtypes.items() if kinds - {tf.float32}} == {}
    assert {v.dtype for v in model.weights} == {"float32"}


def test_pixels_and_boxes_are_not_rounded_on_entry(tiny_config, batch, monkeypatch):
    config = dataclasses.replace(tiny_config, proposals="precomputed")
    model, seen = MaskRCNN(config, dtype="mixed_bfloat16"), []

    def spy(name):
        method = getattr(MaskRCNN, name)

        def call(self, inputs, *args):
            seen.append(inputs)
            return method(self, inputs, *args)

        monkeypatch.setattr(MaskRCNN, name, call)

    spy("features")
    spy("given_proposals")
    proposals = np.full([2, 3, 4], [1.01, 2.01, 60.01, 50.01], np.float32)
    inputs = {**batch[0], "images": batch[0]["images"] + np.float32(0.01), "proposals": proposals}
    model(inputs)
    assert len(seen) == 2
    for entered in seen:
        np.testing.assert_array_equal(entered["images"], inputs["images"])
        np.testing.assert_array_equal(entered["proposals"], proposals)


def test_an_overflow_skips_the_step_until_the_scale_has_fallen(tiny_config, batch):
    model = compiled(tiny_config, "mixed_float16")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.make_train_function()
    model.optimizer.dynamic_scale.assign(2.0**20)
    before = model.mask_head.get_weights()
    model.train_on_batch(*batch)
    assert model.optimizer.iterations == 0 and model.optimizer.dynamic_scale == 2.0**19
    for first, second in zip(before, model.mask_head.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    for _ in range(20):
        model.train_on_batch(*batch)
    assert 0 < model.optimizer.iterations < 20
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert any(np.any(a != b) for a, b in zip(before, model.mask_head.get_weights(), strict=True))


@pytest.mark.slow
def test_an_overflow_of_one_replica_skips_the_step_of_all(tiny_config, batch, two_devices):
    config = dataclasses.replace(tiny_config, norm="frozen_batch")
    model = compiled(config, "mixed_float16", two_devices.scope())
    before = model.get_weights()
    inputs, gt = batch
    far = np.array(gt["boxes"])
    far[1, 0] = [0, 0, 1e30, 1e30]  # only on one replica, with an infinite loss in float16
    spoiled = (inputs, {**gt, "boxes": far})
    spoiled = tf.data.Dataset.from_tensor_slices(spoiled).batch(2, True)
    model.fit(spoiled, verbose=0, shuffle=False)
    assert model.optimizer.iterations == 0 and model.optimizer.dynamic_scale == 2.0**14
    for first, second in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    model.fit(tf.data.Dataset.from_tensor_slices(batch).batch(2, True), verbose=0, shuffle=False)
    assert model.optimizer.iterations == 1


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("eager")
def test_a_keras_file_and_an_export_keep_the_policy(tiny_config, batch, tmp_path, policy):
    model = compiled(dataclasses.replace(tiny_config, score_threshold=0.0), policy)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.dtype_policy.name == loaded.with_config().dtype_policy.name == policy
    assert type(loaded.optimizer) is type(model.optimizer)
    images = batch[0]["images"].astype(np.uint8)
    expected = model.predict(images, verbose=0)
    for name, value in loaded.predict(images, verbose=0).items():
        np.testing.assert_array_equal(value, expected[name])
    loaded.export(str(tmp_path / "served"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["serving_default"]
    found = served(images=tf.constant(images))
    assert found["boxes"].dtype == found["masks"].dtype == tf.float32
    # When TensorFlow fuses operations, 16 bits are rounded differently, by at most 1 / 128.
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.02)
