"""The same weights give the same detections as Matterport's Mask_RCNN, stage by stage.

golden/make_matterport.py contains a transcript of its inference graph.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn.presets import preset_config

CANVAS = 128
TINY = dict(
    num_classes=4,
    backbone_width=8,
    fpn_channels=32,
    rpn_head_channels=64,
    box_head_units=64,
    mask_head_channels=32,
    image_min_side=CANVAS,
    image_max_side=CANVAS,
    canonical_roi_size=56.0,
    anchor_sizes=(16.0, 32.0, 64.0, 128.0, 256.0),
    test_pre_nms=300,
    test_proposals=100,
    detections_per_image=20,
)
XYXY = [1, 0, 3, 2]  # also from dy, dx, dh, dw to dx, dy, dw, dh


@pytest.fixture(scope="module")
def data(golden):
    return golden("tiny_matterport")


@pytest.fixture(scope="module")
def model(matterport_file):
    model = mrcnn.MaskRCNN(preset_config("mask_rcnn_resnet50_fpn_matterport", **TINY))
    report = mrcnn.weights.load_matterport(model, matterport_file, verbose=False)
    assert not report.missing and not report.skipped
    return model


def assert_close(actual, expected, within):
    """Asserts that values are equal, within a fraction of the spread of the expected values."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=within * np.std(expected))


def inputs_of(image):
    """Returns Matterport's canvas as an image: centered, with black bars."""
    canvas = np.zeros((1, CANVAS, CANVAS, 3), np.float32)
    top = (CANVAS - image.shape[0]) // 2
    canvas[0, top : top + image.shape[0]] = image
    sizes = np.array([[CANVAS, CANVAS]], np.int32)
    return {"images": canvas, "sizes": sizes, "original_sizes": sizes}


def pixels(boxes):
    """Converts its normalized boxes to pixels. Boxes include their last pixel."""
    return (boxes[:, XYXY] * (CANVAS - 1)).astype(np.float32)


@pytest.mark.parametrize("image", [0, 1])
def test_networks_and_proposals(model, data, image):
    inputs = inputs_of(data[f"image.{image}"])
    features = model.features(inputs)
    if image == 0:
        for level in ("p2", "p3", "p4", "p5", "p6"):
            assert_close(features[level], data[f"{level}.0"], 1e-4)
    raw = model.rpn(features)
    proposals, _ = model.rpn.select(raw, inputs["sizes"], pre_nms=300, count=100)
    logits, deltas, _ = raw.joined()
    np.testing.assert_allclose(
        tf.sigmoid(logits[0]), data[f"rpn_probabilities.{image}"][:, 1], atol=1e-4
    )
    expected = data[f"rpn_deltas.{image}"][:, XYXY] * [0.1, 0.1, 0.2, 0.2]
    assert_close(deltas[0], expected, 1e-4)
    rois = pixels(data[f"proposals.{image}"])
    np.testing.assert_allclose(proposals[0], rois, atol=1e-3)
    logits, deltas, _ = model.roi_heads.box_branch(features, tf.constant(rois[None]))
    expected = data[f"class_probabilities.{image}"]
    np.testing.assert_allclose(tf.nn.softmax(logits)[0], expected, atol=1e-4)
    assert_close(deltas[0], data[f"box_deltas.{image}"][:, 1:, XYXY], 1e-4)


def test_detections_and_masks(model, data):
    outputs = model.predict_on_batch(inputs_of(data["image.0"]))
    count = outputs["num_detections"][0]
    assert count == len(data["scores.0"])
    boxes = outputs["boxes"][0, :count]
    np.testing.assert_allclose(boxes, pixels(data["boxes.0"]) + [0, 0, 1, 1], atol=1e-3)
    np.testing.assert_allclose(outputs["scores"][0, :count], data["scores.0"], atol=1e-4)
    np.testing.assert_array_equal(outputs["labels"][0, :count], data["labels.0"])
    np.testing.assert_allclose(outputs["masks"][0, :count], data["mini_masks.0"], atol=1e-3)
    assert not outputs["boxes"][0, count:].any()  # no pixel is added to the corners of empty slots
    # Matterport rounds boxes to whole pixels at the end, and pastes masks into the rounded boxes.
    assert np.abs(boxes - data["final_boxes.0"][:, XYXY]).max() < 0.501


def test_a_training_step_has_finite_losses(batch):
    config = preset_config("mask_rcnn_resnet50_fpn_matterport", **{**TINY, "num_classes": 3})
    losses = mrcnn.MaskRCNN(config).compute_losses(*batch)
    assert all(np.isfinite(loss) for loss in losses.values())
    assert losses["mask"] > 0


@pytest.mark.usefixtures("eager")
def test_its_proposals_give_the_same_detections_when_they_are_given(model, data):
    inputs = inputs_of(data["image.0"])
    rpn = mrcnn.MaskRCNN(dataclasses.replace(model.config, task="proposals"))
    rpn.copy_networks(model)
    fast = mrcnn.MaskRCNN(dataclasses.replace(model.config, proposals="precomputed"))
    fast.copy_networks(model)
    proposals = rpn.predict_on_batch(inputs)["boxes"]
    expected = model.predict_on_batch(inputs)
    assert expected["num_detections"][0] > 0
    found = fast.predict_on_batch({**inputs, "proposals": proposals})
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-3)
