"""The same weights give the same detections as torchvision and detectron2, stage by stage.

The tiny networks of `golden/` are complete ResNet-50 detectors with an eighth of the width. With
../shared/golden there are also more images and a training step.
"""

import numpy as np
import pytest
import tensorflow as tf
from parity import PEERS, SHARED, import_network, inputs_of, stages

from keras_maskrcnn import losses
from keras_maskrcnn.layers.roi_align import roi_align
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.roi_heads import per_roi

# Largest difference of a stage; None: 1e-4 of the peer's spread.
BARS = {
    "features": None,
    "RPN": None,
    "class": None,
    "box deltas": None,
    "proposals": 5e-3,
    "boxes": 5e-3,  # pixels
    "scores": 1e-4,
    "labels": 0,
    "masks": 1e-3,
}


@pytest.fixture(scope="module", params=PEERS)
def network(request):
    return import_network(request.param)


def check_forward(network, data):
    for name, ours, expected in stages(network, data):
        ours = np.asarray(ours)
        if name.startswith("pasted"):
            for mask, other in zip(ours, expected, strict=True):
                # Both may be empty.
                assert np.sum(mask & other) >= 0.995 * np.sum(mask | other), name
        else:
            within = next(bar for start, bar in BARS.items() if name.startswith(start))
            if within is None:
                within = 1e-4 * np.std(expected)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=within, err_msg=name)


def test_one_image(network, golden):
    check_forward(network, golden(f"tiny_{network.peer}"))


def shared(network, name):
    path = SHARED / PEERS[network.peer] / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with np.load(path) as stored:
        return dict(stored)


@pytest.mark.usefixtures("eager")
def test_a_padded_batch_of_two(network):
    check_forward(network, shared(network, "batch.npz"))


def padded(arrays, count, fill):
    """Joins arrays of different lengths into one batch, padded in the second dimension."""
    out = np.full((len(arrays), count, *arrays[0].shape[1:]), fill, np.asarray(arrays[0]).dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out


def torchvision_targets(data):
    """Returns the targets of torchvision's training step, with positives first, as in ours."""
    chosen = [np.argsort(data[f"roi_labels.{i}"] == 0, kind="stable") for i in (0, 1)]
    rois, labels, deltas = (
        np.stack([data[f"{name}.{i}"][chosen[i]] for i in (0, 1)])
        for name in ("rois", "roi_labels", "roi_targets")
    )
    masks = padded([data[f"mask_targets.{i}"] for i in (0, 1)], 20, 0.0)
    anchors = np.stack([data[f"rpn_targets.{i}"] for i in (0, 1)])
    return rois, labels.astype(np.int32), deltas, masks, anchors


def detectron2_targets(data, anchors, size):
    """Computes targets by detectron2's rules: nearest boxes, masks by RoIAlign, cut at 0.5."""
    rois = np.stack([data[f"rois_sorted.{i}"] for i in (0, 1)])
    labels = np.stack([data[f"roi_classes_sorted.{i}"] for i in (0, 1)]) + 1
    labels = np.where(labels == 5, 0, labels).astype(np.int32)
    order = np.argsort(labels == 0, axis=1, kind="stable")
    rois, labels = (
        np.take_along_axis(rois, order[..., None], 1),
        np.take_along_axis(labels, order, 1),
    )
    deltas, masks, anchor_deltas = [], [], []
    for i in (0, 1):
        boxes = data[f"gt_boxes.{i}"]
        matched = np.argmax(box_ops.iou(rois[i], boxes), axis=1)
        deltas.append(box_ops.encode(boxes[matched], rois[i], (10.0, 10.0, 5.0, 5.0)).numpy())
        nearest = np.argmax(box_ops.iou(anchors, boxes), axis=1)
        anchor_deltas.append(box_ops.encode(boxes[nearest], anchors).numpy())
        positive = labels[i] > 0
        bitmasks = data[f"gt_masks.{i}"][matched[positive]].astype(np.float32)[..., None]
        zeros = tf.zeros([len(bitmasks), 1], tf.int32)
        cut = roi_align(
            [tf.constant(bitmasks)],
            tf.constant(rois[i][positive][:, None]),
            zeros,
            output_size=size,
            strides=[1],
            sampling_ratio=0,
        )
        masks.append((cut[:, 0, ..., 0].numpy() >= 0.5).astype(np.float32))
    return rois, labels, np.stack(deltas), padded(masks, 20, 0.0), np.stack(anchor_deltas)


LOSSES = {
    "torchvision": dict(
        rpn_objectness="loss_objectness",
        rpn_box="loss_rpn_box_reg",
        classifier="loss_classifier",
        box="loss_box_reg",
        mask="loss_mask",
    ),
    "detectron2": dict(
        rpn_objectness="loss_rpn_cls",
        rpn_box="loss_rpn_loc",
        classifier="loss_cls",
        box="loss_box_reg",
        mask="loss_mask",
    ),
}
KERNELS = {
    "torchvision": (
        "backbone.body.conv1",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_predictor.mask_fcn_logits",
        "rpn.head.bbox_pred",
    ),
    "detectron2": (
        "backbone.bottom_up.stem.conv1",
        "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
        "roi_heads.mask_head.predictor",
        "proposal_generator.rpn_head.anchor_deltas",
    ),
}


def test_losses_and_gradients(network):
    if network.peer == "fpn_torchvision_v2":
        pytest.skip("there is no golden training step of v2")
    data, model = shared(network, "train.npz"), network.model
    peer = "detectron2" if network.background_last else "torchvision"
    config = model.config
    model.backbone.trainable = True  # the peer's step has gradients for all layers
    inputs = inputs_of(network, data, resize=peer == "torchvision")
    rpn_labels = np.stack([data[f"rpn_labels.{i}"] for i in (0, 1)]).astype(np.int32)
    kernels = [
        model.backbone.get_layer("stem").kernel,
        model.box_head.get_layer("class_logits").kernel,
        model.box_head.get_layer("box_deltas").kernel,
        model.mask_head.get_layer("logits").kernel,
        model.rpn_head.get_layer("deltas").kernel,
    ]
    with tf.GradientTape() as tape:
        tape.watch([kernel.value for kernel in kernels])
        features = model.features(inputs, training=True)
        logits, deltas, anchors = model.rpn(features, training=True).joined()
        heads = model.roi_heads
        rois, labels, box_targets, mask_targets, anchor_targets = (
            torchvision_targets(data)
            if peer == "torchvision"
            else detectron2_targets(data, anchors, 14 if model.res5 else 28)
        )
        class_logits, box_deltas, pooled = heads.box_branch(features, tf.constant(rois), True)
        own = tf.one_hot(np.maximum(labels - 1, 0), 4)
        box_deltas = tf.einsum("bscd,bsc->bsd", box_deltas, own)
        if model.res5:  # both branches share the features
            mask_logits = per_roi(model.mask_head, pooled[:, :20], True)
        else:
            mask_logits = heads.mask_branch(features, tf.constant(rois[:, :20]), True)
        # detectron2 divides by a constant, here 40,000 anchors per image.
        share = 1.0 if peer == "torchvision" else rpn_labels.shape[1] / 40_000
        rpn = config.rpn_loss_divisor
        terms = {
            "rpn_objectness": share * losses.objectness_loss(logits, rpn_labels, rpn),
            "rpn_box": share
            * losses.box_loss(deltas, anchor_targets, rpn_labels, config.rpn_box_beta, rpn),
            "classifier": losses.classifier_loss(class_logits, labels, config.roi_loss_divisor),
            "box": losses.box_loss(
                box_deltas, box_targets, labels, config.box_beta, config.roi_loss_divisor
            ),
            "mask": losses.mask_loss(mask_logits, mask_targets, labels[:, :20]),
        }
        total = tf.add_n(list(terms.values()))
    for name, golden_name in LOSSES[peer].items():
        assert float(terms[name]) == pytest.approx(float(data[golden_name]), rel=1e-4), name
    gradients = tape.gradient(total, [kernel.value for kernel in kernels])
    for key, gradient in zip(KERNELS[peer], gradients, strict=True):
        key = key if f"grad.{key}.weight" in data else key.replace(".bottom_up", "")  # C4
        expected = data[f"grad.{key}.weight"]
        gradient = np.transpose(gradient)
        if gradient.ndim == 4:
            gradient = np.swapaxes(gradient, 2, 3)
        if "cls_score" in key and network.background_last:
            gradient = np.roll(gradient, -1, axis=0)
        if gradient.shape[1] == 3 and network.background_last:
            gradient = gradient[:, ::-1]  # BGR
        expected = expected[-len(gradient) :]  # torchvision also has deltas and masks of background
        error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
        assert error < 1e-3, f"{key}: {error}"
