"""A backbone of Keras in training: precision, gradients, norms, one trace, several replicas."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from backbones.networks import residual
from eager import eager_steps

from keras_maskrcnn import training
from keras_maskrcnn.backbones import building
from keras_maskrcnn.model import MaskRCNN


@pytest.fixture
def config(tiny_config, monkeypatch):
    """A config whose backbone is a small network of Keras."""
    monkeypatch.setattr(building, "body", lambda name: residual())
    own = {"pixel_mean": (), "pixel_std": (), "stochastic_depth": 0.5}
    return dataclasses.replace(tiny_config, backbone="mobilenetv2", **own)


def compiled(config, **kwargs):
    model = MaskRCNN(config, **kwargs)
    model.compile(training.sgd(0.01, warmup_steps=0))
    return model


@pytest.mark.slow  # a trace of a training step
def test_16_bits_train_all_stages_in_one_trace(config, batch, monkeypatch):
    traces, compute_losses = [], MaskRCNN.compute_losses

    def count(self, *args, **kwargs):
        traces.append(1)
        return compute_losses(self, *args, **kwargs)

    monkeypatch.setattr(MaskRCNN, "compute_losses", count)
    model = compiled(config, dtype="mixed_bfloat16")
    layers = [x for x in model.backbone.layers if x.weights]
    assert {x.compute_dtype for x in layers} == {"bfloat16"}
    before = {v.path: np.array(v) for v in model.backbone.weights}
    wider = {**batch[0], "images": np.pad(batch[0]["images"], [[0, 0], [0, 0], [0, 32], [0, 0]])}
    dataset = tf.data.Dataset.from_generator(
        lambda: iter([batch, (wider, batch[1])]),
        output_signature=tf.nest.map_structure(
            lambda x: tf.TensorSpec([None] * len(x.shape[:-1]) + [x.shape[-1]], x.dtype), batch
        ),
    )
    history = model.fit(dataset, verbose=0)
    assert np.isfinite(history.history["loss"]).all() and len(traces) == 1
    same = [v.path for v in model.backbone.weights if (np.asarray(v) == before[v.path]).all()]
    assert not same  # gradients reach every kernel, and every norm has seen the batch


def test_what_is_frozen_stays_and_fixed_norms_do_not_move(config, batch):
    config = dataclasses.replace(config, norm="frozen_batch", frozen_stages=2)
    model = compiled(config)
    before = {v.path: np.array(v) for v in model.backbone.weights}
    with eager_steps():
        model.train_on_batch(*batch)
    changed = {v.path for v in model.backbone.weights if (np.asarray(v) != before[v.path]).any()}
    assert changed == {f"conv{i}/{name}" for i in (3, 4, 5) for name in ("kernel", "bias")}


def test_inference_does_not_leave_out_branches(config, batch):
    model = MaskRCNN(config)
    maps = [model.features(batch[0])["p2"] for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    maps = [model.features(batch[0], training=True)["p2"] for _ in range(2)]
    assert np.abs(maps[0] - maps[1]).max() > 0
