"""For empty inputs every preset returns zeros of the right shape, as its peers do.

The claims are those that the tests of torchvision and detectron2 make about empty inputs, each for
all presets: detectron2's test_empty_box, test_empty_batch, test_no_images,
test_fast_rcnn_empty_batch and test_empty_data, and torchvision's negative samples.
"""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools import mask as coco_mask

from keras_maskrcnn import cli, decode, losses, networks, targets
from keras_maskrcnn.detections import predict_image
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops.portable import portable
from keras_maskrcnn.presets import PRESETS, preset_config


def distinct(*names):
    """Returns the distinct values of these fields in all presets, as dicts."""
    found = []
    for preset in PRESETS:
        fields = {name: getattr(preset_config(preset), name) for name in names}
        if fields not in found:
            found.append(fields)
    return found


def short(fields):
    """Returns the name of a test for these fields."""
    return " ".join(map(str, fields.values()))


# The RoI operations

ABLATIONS = [  # no preset has these
    dict(roi_op="pool", roi_pooling="max"),
    dict(roi_op="warp"),
    dict(roi_op="warp", sampling_ratio=0),
    dict(roi_pooling="max"),
    dict(neck="c5"),
    dict(sampling_ratio=0, roi_aligned=False),
]
LAYERS = ABLATIONS + distinct(
    *("neck", "roi_op", "roi_pooling", "sampling_ratio", "roi_aligned", "roi_level_rule"),
    *("canonical_roi_size", "box_pool_size", "mask_pool_size"),
)
WITHOUT_AREA = {
    "zero width": [10, 5, 10, 60],
    "zero height": [3, 4, 5, 4],
    "reversed": [50, 60, 10, 5],
    "padding": [0, 0, 0, 0],
    "a point outside": [500, 500, 500, 500],
}


def pool(fields, boxes):
    """Pools boxes (B, R, 4). Returns the result, the features, and the gradient of its sum."""
    config = dataclasses.replace(preset_config("mask_rcnn_resnet18_fpn"), **fields)
    layer = networks._roi_layer(config, config.mask_pool_size, "align")
    features = [tf.random.normal([len(boxes), 128 // s, 128 // s, 4]) for s in layer.strides]
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = layer(features, tf.constant(boxes, tf.float32))
        total = tf.reduce_sum(pooled)
    return pooled, features, tape.gradient(total, features)


@pytest.mark.parametrize("fields", LAYERS, ids=short)
def test_no_roi_and_no_image_give_nothing(fields):
    for images, rois in ((2, 0), (0, 3), (0, 0)):
        pooled, features, gradients = pool(fields, np.zeros((images, rois, 4)))
        size = fields.get("mask_pool_size", 14)
        assert pooled.shape == (images, rois, size, size, 4)
        for feature, gradient in zip(features, gradients, strict=True):
            assert gradient.shape == feature.shape
            assert not np.any(gradient)


@pytest.mark.parametrize("fields", LAYERS, ids=short)
def test_rois_without_area_are_finite_and_zero_where_bins_have_no_points(fields):
    boxes = np.array([[box] for box in WITHOUT_AREA.values()])
    pooled, _, gradients = pool(fields, boxes)
    assert np.isfinite(pooled).all() and all(np.isfinite(x).all() for x in gradients)
    no_points = fields.get("roi_op", "align") == "align" and fields.get("roi_aligned", True)
    if no_points and fields.get("sampling_ratio", 2) == 0:
        assert not np.any(pooled) and not any(np.any(x) for x in gradients)


@pytest.mark.parametrize("fields", [x for x in LAYERS if x.get("roi_op") != "pool"], ids=short)
def test_the_portable_operation_gives_the_same_nothing(fields):
    for boxes in (np.zeros((2, 0, 4)), np.array([[box] for box in WITHOUT_AREA.values()])):
        tf.random.set_seed(0)
        expected = pool(fields, boxes)[0]
        tf.random.set_seed(0)
        with portable():
            np.testing.assert_allclose(pool(fields, boxes)[0], expected, atol=1e-5)


def test_the_maximum_of_no_roi_has_a_gradient_in_a_graph():
    # MaxPoolGrad crashes on CPUs in this case.
    gradients = tf.function(lambda: pool(dict(roi_pooling="max"), np.zeros((2, 0, 4)))[2])()
    assert not any(np.any(x) for x in gradients)


# Targets, decoding and losses

COUNTS = [(2, 5, 0), (2, 0, 3), (2, 0, 0), (0, 5, 3), (0, 0, 0)]  # images, boxes, gt slots


@pytest.mark.parametrize(("images", "boxes", "slots"), COUNTS)
def test_without_truth_everything_is_background(images, boxes, slots):
    truth = tf.zeros([images, slots, 4])
    anchors = tf.tile([[0.0, 0, 8, 8]], [boxes, 1])
    labels, matched = targets.anchor_labels(anchors, truth)
    np.testing.assert_array_equal(labels, np.zeros((images, boxes)))
    np.testing.assert_array_equal(matched, np.zeros((images, boxes)))

    rois, labels, matched = targets.sample_rois(
        tf.tile(anchors[None], [images, 1, 1]),
        truth,
        tf.zeros([images, slots], tf.int32),
        tf.zeros([images, boxes + slots]),
        count=7,
    )
    assert rois.shape == (images, 7, 4)
    expected = [0] * boxes + [-1] * (7 - boxes)
    np.testing.assert_array_equal(labels, np.tile(expected, (images, 1)))
    assert matched.shape == (images, 7)

    masks = targets.mask_targets(rois, truth, tf.zeros([images, slots, 28, 28]), matched, 14)
    np.testing.assert_array_equal(masks, np.zeros((images, 7, 14, 14)))
    assert not np.any(targets.recalled(rois, truth))


DECODING = distinct(
    *("rpn_nms_iou", "rpn_min_size", "nms_iou", "box_min_size", "one_class_per_roi"),
    *("score_threshold", "box_delta_weights", "nms_across_classes"),
)


@pytest.mark.parametrize("images", [0, 2])
@pytest.mark.parametrize("fields", DECODING, ids=short)
def test_nothing_to_decode_gives_empty_slots(fields, images):
    sizes = tf.fill([images, 2], 64)
    # A level without anchors, and a level with one anchor, which lies outside of the image.
    outside = tf.constant([[-20.0, -20, -4, -4]])
    for anchors in (tf.zeros([0, 4]), outside):
        logits = tf.zeros([images, len(anchors)])
        boxes, scores = decode.proposals(
            [logits] * 2,
            [tf.zeros([images, len(anchors), 4])] * 2,
            [anchors] * 2,
            sizes,
            pre_nms=6,
            count=4,
            nms_iou=fields["rpn_nms_iou"],
            min_size=fields["rpn_min_size"],
        )
        assert boxes.shape == (images, 4, 4) and scores.shape == (images, 4)
        assert not np.any(boxes) and not np.any(scores)
    for rois in (0, 3):
        found = decode.detections(
            tf.zeros([images, rois, 4]),
            tf.zeros([images, rois, 3, 4]),
            tf.zeros([images, rois, 4]),
            sizes,
            delta_weights=fields["box_delta_weights"],
            score_threshold=fields["score_threshold"],
            nms_iou=fields["nms_iou"],
            count=4,
            min_size=fields["box_min_size"],
            one_class=fields["one_class_per_roi"],
            across_classes=fields["nms_across_classes"],
        )
        assert [x.shape.as_list() for x in found] == [[images, 4, 4], *[[images, 4]] * 2, [images]]
        assert not any(np.any(x) for x in found)


LOSSES = distinct("rpn_loss_divisor", "rpn_box_beta", "roi_loss_divisor", "box_beta", "mask_loss")


@pytest.mark.parametrize("kind", ["no image", "no slot", "empty slots"])
@pytest.mark.parametrize("fields", LOSSES, ids=short)
def test_losses_of_nothing_are_zero_and_so_are_their_gradients(fields, kind):
    rpn_divisor, rpn_beta, divisor, beta, mask_kind = fields.values()
    images, slots = {"no image": (0, 5), "no slot": (2, 0), "empty slots": (2, 5)}[kind]
    labels = tf.fill([images, slots], -1)
    logits = tf.zeros([images, slots])
    classes, deltas = tf.zeros([images, slots, 4]), tf.zeros([images, slots, 4])
    masks = tf.zeros([images, slots, 14, 14, 3])
    with tf.GradientTape() as tape:
        tape.watch([logits, classes, deltas, masks])
        terms = [
            losses.objectness_loss(logits, labels, rpn_divisor),
            losses.box_loss(deltas, tf.zeros_like(deltas), labels, rpn_beta, rpn_divisor),
            losses.classifier_loss(classes, labels, divisor),
            losses.box_loss(deltas, tf.zeros_like(deltas), labels, beta, divisor),
            losses.mask_loss(masks, masks[..., 0], labels, mask_kind),
        ]
        total = tf.add_n(terms)
    assert [float(x) for x in terms] == [0.0] * 5
    for gradient in tape.gradient(total, [logits, classes, deltas, masks]):
        assert np.isfinite(gradient).all() and not np.any(gradient)


# Whole models

DETECTRON2 = dict(sampling_ratio=0, roi_loss_divisor="sampled", box_beta=0.0, rpn_box_beta=0.0)
C4 = dict(neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0)
TORCHVISION = dict(
    resize_rule="torchvision",
    anchor_rule="torchvision",
    roi_level_rule="torchvision",
    roi_aligned=False,
    mask_paste="torchvision",
    rpn_loss_divisor="sampled",
    roi_loss_divisor="sampled",
    rpn_min_size=1e-3,
    box_min_size=1e-2,
    soft_mask_targets=True,
)
MATTERPORT = dict(
    resize_rule="torchvision",
    anchor_rule="matterport",
    rpn_joint_nms=True,
    roi_level_rule="matterport",
    roi_op="crop",
    one_class_per_roi=True,
)
FAMILIES = {
    "detectron2": DETECTRON2,
    "detectron2 C4": {
        **DETECTRON2,
        **C4,
        "box_pool_size": 14,
        "mask_pool_size": 14,
        "res5_stride": 2,
        "padding_multiple": 1,
    },
    "detectron2 DC5": {**DETECTRON2, "neck": "dc5", "padding_multiple": 1},
    "paper": {},
    "paper C4": C4,
    "torchvision": TORCHVISION,
    "torchvision v2": {
        **TORCHVISION,
        "head_norm": "batch",
        "rpn_head_convs": 2,
        "box_head_convs": 4,
        "box_head_layers": 1,
    },
    "matterport": MATTERPORT,
}
TASKS = {
    "masks": {},
    "boxes": dict(task="boxes"),
    "proposals": dict(task="proposals"),
    "precomputed": dict(proposals="precomputed"),
}


def nothing_found(tiny_config, family, **overrides):
    """Makes a model that detects nothing. Proposals of an RPN have no threshold."""
    fields = {**FAMILIES[family], "score_threshold": 1.0, **overrides}
    return MaskRCNN(dataclasses.replace(tiny_config, **fields))


def with_proposals(model, inputs, count=40):
    if model.config.proposals == "joint":
        return inputs
    return {**inputs, "proposals": tf.zeros([len(inputs["images"]), count, 4])}


def assert_nothing(found, count, model):
    assert all(len(value) == count for value in found.values())
    assert all(np.isfinite(value).all() for value in found.values())
    if model.config.task != "proposals":
        assert not any(np.any(value) for value in found.values())


def check_model(model, batch):
    """Calls the model on all kinds of empty inputs, and trains it on images without objects."""
    inputs, gt = batch
    assert_nothing(model(with_proposals(model, inputs)), 2, model)
    none = {name: value[:0] for name, value in inputs.items()}
    assert_nothing(model(with_proposals(model, none)), 0, model)
    plain = {"images": np.zeros((0, 50, 70, 3), np.uint8)}
    assert_nothing(model(with_proposals(model, plain)), 0, model)
    if model.config.proposals == "precomputed":
        assert_nothing(model(with_proposals(model, inputs, 0)), 2, model)

    # Images without a slot of ground truth, and no image at all.
    inputs = tf.nest.map_structure(tf.constant, with_proposals(model, inputs))
    gt = {name: tf.constant(value[:, :0]) for name, value in gt.items()}
    with tf.GradientTape() as tape:
        terms = model.compute_losses(inputs, gt)
        total = tf.add_n(list(terms.values()))
    variables = [v.value for v in model.trainable_variables]
    for gradient in tape.gradient(total, variables):
        assert gradient is None or np.isfinite(gradient).all()
    assert np.isfinite(total)
    for name in {"rpn_box", "box", "mask"} & set(terms):
        assert terms[name] == 0
    inputs, gt = tf.nest.map_structure(lambda x: x[:0], (inputs, gt))
    terms = model.compute_losses(inputs, gt, training=False)
    assert all(value == 0 for value in terms.values())
    with pytest.raises(tf.errors.InvalidArgumentError, match="needs an image of every batch"):
        model.compute_losses(inputs, gt)


@pytest.mark.parametrize(
    ("family", "task"),
    [
        pytest.param(
            family,
            task,
            marks=()
            if (family, task) == ("detectron2", "masks")
            or (family, task) == ("detectron2 C4", "precomputed")
            else pytest.mark.slow,
        )
        for family in FAMILIES
        for task in TASKS
    ],
)
def test_a_model_of_nothing(family, task, tiny_config, batch):
    check_model(nothing_found(tiny_config, family, **TASKS[task]), batch)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The folder of a data set of one annotated image, 64 x 64."""
    folder = tmp_path_factory.mktemp("shapes")
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(image).save(folder / "1.png")
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": 64, "width": 64}],
        "categories": [{"id": i, "name": f"class {i}"} for i in (1, 2, 3)],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 2,
                "iscrowd": 0,
                "area": 100,
                "bbox": [5, 5, 10, 10],
                "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]],
            },
        ],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def test_commands_that_find_nothing_say_so(tiny_config, shapes, tmp_path):
    # With sampling_ratio=0 RoIAlign has no points if there is no detection.
    model = nothing_found(tiny_config, "detectron2")
    model.save(tmp_path / "model.keras")
    output = tmp_path / "out"
    flags = [f"--model={tmp_path / 'model.keras'}", "--quiet"]
    assert cli.run(["predict", *flags, f"--input={shapes / '1.png'}", f"--output={output}"]) == 0
    assert json.loads((output / "predictions.json").read_text()) == []


PORTABLE = dict(image_size=(64, 96), verbose=False)
CANVAS = {
    "images": np.full((1, 64, 96, 3), 128, np.float32),
    "sizes": np.array([[64, 96]], np.int32),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_out_of_a_model_gives_nothing(family, tiny_config, shapes, tmp_path):
    model = nothing_found(tiny_config, family)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    assert_nothing(model.predict(images, verbose=0), 2, model)
    for none in (images[:0], tf.constant(images[:0]), {"images": images[:0]}):
        assert_nothing(model.predict(none, verbose=0), 0, model)

    found = predict_image(model, images[0])
    assert found["boxes"].shape == (0, 4) and found["masks"].shape == (0, 64, 96)

    model.save(tmp_path / "model.keras")
    flags = [f"--model={tmp_path / 'model.keras'}", "--quiet", f"--images={shapes}"]
    flags += [f"--annotations={shapes / 'instances.json'}", f"--output={tmp_path / 'scores.json'}"]
    assert cli.run(["evaluate", *flags]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["segm/AP"] == scores["bbox/AP"] == 0

    png = tf.io.encode_png(images[0])
    for masks in ("soft", "binary", "rle"):
        model.export(tmp_path / masks, masks=masks, verbose=False)
        signatures = tf.saved_model.load(tmp_path / masks).signatures
        for found in (
            signatures["serving_default"](images=tf.constant(images)),
            signatures["serve_image_bytes"](image_bytes=tf.stack([png, png])),
        ):
            assert all(len(value) == 2 for value in found.values())
            empty = set(found) - {"sizes", "rle"}
            assert not any(np.any(found[name]) for name in empty)
            if masks == "rle":
                black = coco_mask.encode(np.zeros((64, 96), np.uint8, order="F"))
                assert (found["rle"].numpy() == black["counts"]).all()

    model.export(tmp_path / "model.tflite", format="litert", **PORTABLE)
    runner = tf.lite.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    assert_nothing(runner(**CANVAS), 1, model)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_runtime_gives_nothing(family, tiny_config, tmp_path):
    pytest.importorskip("tf2onnx", reason="tf2onnx (extra onnx) is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, path = nothing_found(tiny_config, family), tmp_path / "model.onnx"
    model.export(path, format="onnx", **PORTABLE)
    for value in onnxruntime.InferenceSession(path).run(None, CANVAS):
        assert len(value) == 1 and not np.any(value)
