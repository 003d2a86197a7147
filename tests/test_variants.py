"""Every variant that the paper compares builds, trains, predicts, saves, loads and exports."""

import contextlib
import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import eager_steps

import keras_maskrcnn as mrcnn
from keras_maskrcnn.model import SHARES, MaskRCNN

C4 = dict(neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0)
VARIANTS = {
    "FPN": {},
    "C4": C4,
    "C4 as detectron2": dict(C4, box_pool_size=14, mask_pool_size=14, res5_stride=2),
    "C5": dict(neck="c5"),
    "DC5": dict(neck="dc5"),
    "ResNeXt": dict(backbone="resnext50_32x4d", backbone_width=16),
    "RoIPool": dict(roi_op="pool", roi_pooling="max"),
    "RoIWarp": dict(roi_op="warp"),
    "RoIAlign with max": dict(roi_pooling="max"),
    "MLP": dict(mask_predictor="mlp", mask_mlp_units=16),
    "softmax": dict(mask_loss="softmax"),
    "class-agnostic": dict(class_agnostic_masks=True),
    "NMS across classes": dict(nms_across_classes=True),
    "Faster R-CNN": dict(task="boxes"),
    "RPN": dict(task="proposals"),
    "Fast R-CNN with masks": dict(proposals="precomputed"),
}
AXES = (
    ({}, C4, dict(neck="c5")),
    ({}, dict(roi_op="pool", roi_pooling="max"), dict(roi_op="warp")),
    (
        {},
        dict(mask_predictor="mlp", mask_mlp_units=16),
        dict(mask_loss="softmax"),
        dict(class_agnostic_masks=True),
    ),
)
GRID = [
    {name: value for choice in choices for name, value in choice.items()}
    for choices in itertools.product(*AXES)
]


def with_proposals(batch):
    """Adds proposals to a batch: the annotated boxes, and a box beside each."""
    inputs, gt = batch
    proposals = np.zeros((2, 40, 4), np.float32)
    proposals[:, :3], proposals[:, 3:6] = gt["boxes"], gt["boxes"] + [[2, 2, 4, 4]]
    return {**inputs, "proposals": proposals}, gt


def check(config, batch, folder, trains=contextlib.nullcontext, predicts=contextlib.nullcontext):
    """Trains one step, and checks that all ways to get detections agree.

    Args:
        config: MaskRCNNConfig.
        batch: tuple, (inputs, targets).
        folder: Path. Gets the files.
        trains: callable. Returns the context of the training step.
        predicts: callable. Returns the context of predictions.
    """
    inputs, gt = with_proposals(batch) if config.proposals == "precomputed" else batch
    keras.utils.set_random_seed(0)
    model = MaskRCNN(config)
    model.compile(optimizer=mrcnn.training.sgd(0.001, warmup_steps=0))
    before = model.get_weights()
    with trains():
        logs = model.train_on_batch(inputs, gt, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert all(logs[name] > 0 for name in set(logs) - set(SHARES))
    changed = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    trained = [v.path for v in model.trainable_variables]
    assert sum(changed) >= len(trained)

    image = inputs["images"][:1].astype(np.uint8)
    plain = (
        {"images": image, "proposals": inputs["proposals"][:1]} if "proposals" in inputs else image
    )
    with predicts():
        expected = model.predict_on_batch(plain)
    assert expected["scores"].any()
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    assert loaded.config == config
    model.export(folder / "served", verbose=False)
    served = tf.saved_model.load(folder / "served").signatures
    request = plain if isinstance(plain, dict) else {"images": plain}
    png = tf.io.encode_png(image[0]).numpy()
    as_bytes = {**request, "image_bytes": tf.constant([png])}
    del as_bytes["images"]
    with predicts():
        again = loaded.predict_on_batch(plain)
    answers = (
        again,
        served["serving_default"](**{k: tf.constant(v) for k, v in request.items()}),
        served["serve_image_bytes"](**{k: tf.constant(v) for k, v in as_bytes.items()}),
    )
    for found in answers:
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    return model


# Other tests also cover these: the grid most of them, test_parity.py detectron2's C4, test_model.py
# Faster R-CNN, test_conv.py the gradients of DC5 and ResNeXt, cli/test_propose.py given proposals.
SLOW = (
    *("FPN", "C4 as detectron2", "C5", "RoIPool", "RoIWarp", "RoIAlign with max", "MLP"),
    *("softmax", "class-agnostic", "Faster R-CNN", "DC5", "ResNeXt", "Fast R-CNN with masks"),
    "NMS across classes",
)


@pytest.mark.parametrize(
    "variant",
    [pytest.param(v, marks=pytest.mark.slow if v in SLOW else ()) for v in VARIANTS],
)
def test_variant_trains_and_serves(variant, tiny_config, batch, tmp_path):
    config = dataclasses.replace(tiny_config, score_threshold=0.0, **VARIANTS[variant])
    # Of the two that always run, one shows a traced training step. The export is always a graph.
    trains = eager_steps if variant == "RPN" else contextlib.nullcontext
    check(
        config, batch, tmp_path, trains, contextlib.nullcontext if variant in SLOW else eager_steps
    )


@pytest.mark.slow
@pytest.mark.parametrize("fields", GRID, ids=lambda fields: " ".join(map(str, fields.values())))
def test_every_combination_trains_and_serves(fields, tiny_config, batch, tmp_path):
    config = dataclasses.replace(tiny_config, score_threshold=0.0, **fields)
    check(config, batch, tmp_path)


def test_c4_trains_the_mask_on_the_features_of_the_box_branch(tiny_config, batch):
    # Figure 4, left: res5 runs once over the RoIs of both branches.
    model = MaskRCNN(dataclasses.replace(tiny_config, **C4))
    calls = []
    original = model.res5.call
    model.res5.call = lambda x, **kwargs: (calls.append(x.shape), original(x, **kwargs))[1]
    model.compute_losses(*tf.nest.map_structure(tf.constant, batch))
    assert calls == [(2 * 16, 7, 7, 256)]


def test_a_network_without_rpn_has_no_weights_of_one(tiny_config):
    fast = MaskRCNN(dataclasses.replace(tiny_config, proposals="precomputed"))
    rpn = MaskRCNN(dataclasses.replace(tiny_config, task="proposals"))
    assert fast.rpn_head is None and rpn.box_head is None and rpn.mask_head is None
    joint = MaskRCNN(tiny_config)
    both = len(fast.weights) + len(rpn.weights) - len(joint.backbone.weights + joint.fpn.weights)
    assert both == len(joint.weights)
