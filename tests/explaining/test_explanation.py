"""One test for each cause of a lost object. The test sets the outputs of RPN and box head."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_maskrcnn as mrcnn
from keras_maskrcnn.explaining import COLORS, summary
from keras_maskrcnn.explaining.stages import Stages
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork, RpnOutputs

OBJECT = [10.0, 10.0, 30.0, 30.0]
TALL = [10.0, 10.0, 30.0, 55.0]  # IoU with OBJECT: 400 / 900
ELSEWHERE = [60.0, 10.0, 80.0, 30.0]
SURE = [0.04, 0.9, 0.03, 0.03]  # class probabilities of a sure cat, background first
UNSURE = [0.4, 0.5, 0.05, 0.05]


def make_dataset(folder, boxes=(OBJECT,), size=(64, 96), category_ids=(1,) * 9):
    """A data set of one image with cats, or other classes. Each object fills its box."""
    height, width = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    annotations = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        box, polygon = [x1, y1, x2 - x1, y2 - y1], [x1, y1, x2, y1, x2, y2, x1, y2]
        annotations.append(
            {
                "id": i + 5,
                "image_id": 1,
                "category_id": category_ids[i],
                "bbox": box,
                "segmentation": [polygon],
            }
        )
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(("cat", "dog", "cow"))],
    }
    return mrcnn.data.coco_dict(folder, content)


@pytest.fixture(scope="module")
def tiny_model(tiny_config):
    return MaskRCNN(dataclasses.replace(tiny_config, task="boxes"))


@pytest.fixture
def scripted(tiny_model, tiny_config, monkeypatch):
    """Function that makes a model from the outputs of its RPN and box head."""

    def make(anchors, scores=(SURE,), rpn_shift=0.0, head_shift=0.0, **overrides):
        """Makes a model. The first anchor has the highest objectness.

        Shifts are in x, in units of the box's width. The head may have one per class.
        """
        config = dataclasses.replace(tiny_config, task="boxes", **overrides)
        anchors = tf.constant(anchors)
        logits = tf.range(len(anchors), 0, -1.0)[None]
        rpn_deltas = tf.constant([[[rpn_shift, 0.0, 0.0, 0.0]] * len(anchors)])

        class Rpn(RegionProposalNetwork):
            def __call__(self, features, training=False):
                return RpnOutputs([logits], [rpn_deltas], [anchors])

        class Heads(RoIHeads):
            def box_branch(self, features, rois, training=False):
                anchor = tf.argmax(box_ops.iou(rois[0], anchors), axis=1)
                class_logits = tf.gather(np.log(scores).astype(np.float32), anchor)[None]
                deltas = np.zeros((1, rois.shape[1], 3, 4), np.float32)
                deltas[..., 0] = np.multiply(head_shift, config.box_delta_weights[0])
                return class_logits, tf.constant(deltas), None

        heads = tiny_model.roi_heads
        for name, value in {
            "config": config,
            "rpn": Rpn(config, tiny_model.rpn.head),
            "roi_heads": Heads(config, heads.box_align, heads.box_head),
        }.items():
            monkeypatch.setattr(tiny_model, name, value)
        return tiny_model

    return make


def explain_cat(model, folder):
    """Returns the explanation of the only object."""
    (row,) = mrcnn.explain(model, make_dataset(folder), 0).objects
    return row


def test_a_found_object_has_its_detection(scripted, tmp_path):
    row = explain_cat(scripted([OBJECT]), tmp_path)
    assert (row["cause"], row["limit"], row["best_box"]) == ("found", None, OBJECT)
    assert (row["annotation_id"], row["class"]) == (5, "cat")
    assert (row["iou"], row["score"]) == (1.0, pytest.approx(0.9))


def test_no_anchor(scripted, tmp_path):
    row = explain_cat(scripted([[10.0, 10.0, 20.0, 20.0]]), tmp_path)
    assert (row["cause"], row["limit"], row["iou"]) == ("no anchor", None, 0.25)
    assert "IoU 0.25, less than rpn_negative_iou=0.3" in row["why"]
    assert "20 x 20 pixels" in row["remedy"]


def test_no_proposal(scripted, tmp_path):
    # Moved by half its width, a box overlaps half of the object: a third of their union.
    row = explain_cat(scripted([OBJECT], rpn_shift=0.5), tmp_path)
    assert (row["cause"], row["limit"], row["iou"]) == ("no proposal", None, pytest.approx(1 / 3))
    assert row["best_box"] == [20, 10, 40, 30]


def test_moved_away(scripted, tmp_path):
    row = explain_cat(scripted([OBJECT], head_shift=0.5), tmp_path)
    assert (row["cause"], row["limit"], row["iou"]) == ("moved away", None, pytest.approx(1 / 3))
    assert "best has IoU 0.33" in row["why"]


def test_low_score(scripted, tmp_path):
    row = explain_cat(scripted([OBJECT], [[0.94, 0.04, 0.01, 0.01]]), tmp_path)
    assert (row["cause"], row["limit"]) == ("low score", "score_threshold")
    assert row["why"] == "its score as cat is 0.040, not above score_threshold=0.05"


def test_below_the_threshold_of_its_class(scripted, tmp_path):
    logits = [[0.6, 0.3, 0.05, 0.05]]
    row = explain_cat(scripted([OBJECT], logits, class_thresholds=(0.4, 0.2, 0.2)), tmp_path)
    assert (row["cause"], row["limit"]) == ("low score", "class_thresholds")
    assert row["why"] == "its score as cat is 0.300, below the 0.4 of its class in class_thresholds"


def test_a_score_of_0_is_low(scripted, tmp_path):
    row = explain_cat(scripted([OBJECT], [[1.0, 1e-80, 1e-9, 1e-9]]), tmp_path)
    assert (row["cause"], row["limit"], row["best_box"]) == ("low score", "score_threshold", OBJECT)


def test_low_score_beside_the_background(scripted, tmp_path):
    model = scripted([OBJECT], [[0.6, 0.4, 1e-9, 1e-9]], one_class_per_roi=True)
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"]) == ("low score", "one_class_per_roi")


@pytest.mark.parametrize("one_class", [False, True])
def test_wrong_class(scripted, tmp_path, one_class):
    model = scripted([OBJECT], [[0.1, 0.04, 0.85, 0.01]], one_class_per_roi=one_class)
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"]) == ("wrong class", None)
    why = "the model takes it for dog with score 0.850; its score as cat is 0.040"
    assert row["why"] == why


def test_wrong_class_whose_own_box_is_elsewhere(scripted, tmp_path):
    """The head trains the deltas of a class only on objects of this class."""
    model = scripted([OBJECT], [[0.04, 0.05, 0.9, 0.01]], head_shift=(0.5, 0.0, 0.0))
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"], row["iou"]) == ("wrong class", None, pytest.approx(1 / 3))
    why = "the model takes it for dog with score 0.900; its score as cat is 0.050"
    assert row["why"] == why


def test_a_neighbor_of_another_class_is_no_wrong_class(scripted, tmp_path):
    wide = [10.0, 10.0, 38.0, 30.0]  # IoU with OBJECT: 400 / 560
    model = scripted([wide], [[0.1, 0.04, 0.85, 0.01]])
    found = mrcnn.explain(model, make_dataset(tmp_path, [OBJECT, wide], category_ids=(1, 2)), 0)
    assert [row["cause"] for row in found.objects] == ["low score", "found"]


def test_suppressed(scripted, tmp_path):
    model = scripted([TALL, OBJECT], [SURE, UNSURE], nms_iou=0.4)
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"]) == ("suppressed", "nms_iou")
    assert row["best_box"] == OBJECT
    assert "another cat of score 0.900 at [10, 10, 30, 55] overlaps it" in row["why"]
    assert row["why"].endswith("with IoU 0.44, above nms_iou=0.4")


def test_suppressed_by_another_class(scripted, tmp_path):
    scores = [[0.05, 0.02, 0.92, 0.01], UNSURE]
    kept = explain_cat(scripted([TALL, OBJECT], scores, nms_iou=0.4), tmp_path)
    assert kept["cause"] == "found"
    model = scripted([TALL, OBJECT], scores, nms_iou=0.4, nms_across_classes=True)
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"]) == ("suppressed", "nms_iou")
    assert "because dog of score 0.920 at [10, 10, 30, 55] overlaps it" in row["why"]
    assert row["remedy"] == "raise nms_iou, or set nms_across_classes=False"


def test_suppressed_among_proposals(scripted, tmp_path):
    row = explain_cat(scripted([TALL, OBJECT], [SURE, UNSURE], rpn_nms_iou=0.4), tmp_path)
    assert (row["cause"], row["limit"]) == ("suppressed", "rpn_nms_iou")


@pytest.mark.parametrize("limit", ["test_pre_nms", "test_proposals", "detections_per_image"])
def test_capped(scripted, tmp_path, limit):
    model = scripted([ELSEWHERE, OBJECT], [SURE, UNSURE], **{limit: 1})
    row = explain_cat(model, tmp_path)
    assert (row["cause"], row["limit"], row["best_box"]) == ("capped", limit, OBJECT)
    assert f"{limit}=1" in row["why"] and row["remedy"].startswith(f"raise {limit}")


@pytest.mark.parametrize("limit", ["rpn_min_size", "box_min_size"])
def test_too_small(scripted, tmp_path, limit):
    row = explain_cat(scripted([OBJECT], **{limit: 20.0}), tmp_path)
    assert (row["cause"], row["limit"]) == ("too small", limit)


def test_counts_follow_the_stages(scripted, tmp_path):
    # The RPN's NMS drops TALL, the threshold drops the second class, detections_per_image drops
    # ELSEWHERE.
    model = scripted(
        [OBJECT, TALL, ELSEWHERE],
        [SURE, SURE, [0.4, 0.5, 0.06, 0.04]],
        rpn_nms_iou=0.4,
        detections_per_image=1,
    )
    assert mrcnn.explain(model, make_dataset(tmp_path), 0).counts == {
        "anchors": 3,
        "matching anchors": 1,
        "boxes of the RPN": 3,
        "best boxes of the RPN": 3,
        "proposals before NMS": 3,
        "proposals after NMS": 2,
        "proposals": 2,
        "boxes of all classes": 6,
        "boxes above score_threshold": 3,
        "boxes before NMS": 3,
        "boxes after NMS": 3,
        "detections": 1,
    }


def test_text_and_summary_tell_what_was_lost(scripted, tmp_path):
    model = scripted([OBJECT, ELSEWHERE], [SURE, UNSURE], score_threshold=0.6)
    found = mrcnn.explain(model, make_dataset(tmp_path, [OBJECT, ELSEWHERE]), 0)
    first, counts, *lost = str(found).splitlines()
    assert first == "a.png: 1 of 2 objects found."
    assert "2 anchors, 2 matching anchors" in counts and "1 detections" in counts
    assert lost == [
        "  cat at [60, 10, 80, 30]: low score: its score as cat is 0.500, not above "
        "score_threshold=0.6.",
        "    Remedy: lower score_threshold, or train longer.",
    ]
    rows = json.loads(json.dumps([found.as_dict()] * 2))
    assert summary(rows) == {
        "images": 2,
        "objects": 4,
        "found": 2,
        "lost": {"low score (score_threshold)": 2},
    }


def test_picture_has_the_colors_of_the_causes(scripted, tmp_path):
    model = scripted([OBJECT, ELSEWHERE], [SURE, UNSURE], score_threshold=0.6)
    picture = mrcnn.explain(model, make_dataset(tmp_path, [OBJECT, ELSEWHERE]), 0).picture()
    colors = {tuple(color) for color in picture.reshape(-1, 3).tolist()}
    shown = {cause for cause, color in COLORS.items() if tuple(color.tolist()) in colors}
    assert shown - {"too small"} == {"found", "low score"}  # edges of letters have this gray


def test_an_image_without_objects_or_boxes(scripted, tmp_path):
    model = scripted([OBJECT], score_threshold=1.0)
    found = mrcnn.explain(model, make_dataset(tmp_path, []), 0)
    assert found.objects == [] and found.counts["matching anchors"] == 0
    assert found.picture().dtype == np.uint8


def test_other_classes_images_and_proposals_are_refused(scripted, tmp_path):
    dataset = make_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"index must be in 0\.\.0\. Received: index=1\."):
        mrcnn.explain(scripted([OBJECT]), dataset, 1)
    with pytest.raises(ValueError, match="proposals='joint', and some"):
        mrcnn.explain(scripted([OBJECT]), dataset, 0, proposals={})
    with pytest.raises(ValueError, match="category_ids=model.config.category_ids"):
        mrcnn.explain(scripted([OBJECT], category_ids=(1, 2, 9)), dataset, 0)


def test_a_model_that_diverged_is_named(scripted, tmp_path):
    with pytest.raises(ValueError, match="not finite.*: its training diverged"):
        mrcnn.explain(scripted([OBJECT], rpn_shift=np.nan), make_dataset(tmp_path), 0)


VARIANTS = {
    "FPN": {},
    "C4": dict(neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0),
    "proposals": dict(task="proposals"),
    "boxes of Matterport": dict(anchor_rule="matterport", task="boxes", rpn_joint_nms=True),
    "given": dict(proposals="precomputed", task="boxes"),
}


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.usefixtures("eager")
def test_the_last_stage_is_what_predict_returns(tiny_config, tmp_path, name):
    overrides = dict(score_threshold=0.2, **VARIANTS[name])
    model = MaskRCNN(dataclasses.replace(tiny_config, **overrides))
    dataset = make_dataset(tmp_path, size=(128, 160))  # the model resizes it
    image, boxes = dataset.load_image(0)[None], np.array([OBJECT, TALL], np.float32)
    given = {"proposals": boxes[None]} if name == "given" else {}
    outputs = model.predict({"images": image, **given} if given else image, verbose=0)
    inputs = model.prepare({"images": tf.constant(image), **given})
    stages = Stages(model, inputs, boxes).stages
    count = int(outputs["num_proposals" if name == "proposals" else "num_detections"][0])
    assert len(stages[-1].boxes) == count > 0
    np.testing.assert_allclose(stages[-1].boxes, outputs["boxes"][0][:count], atol=1e-3)
    np.testing.assert_allclose(stages[-1].scores, outputs["scores"][0][:count], atol=1e-5)
    if "labels" in outputs:
        np.testing.assert_array_equal(stages[-1].labels, outputs["labels"][0][:count])


def test_given_proposals_have_no_anchors(tiny_config, tmp_path):
    model = MaskRCNN(
        dataclasses.replace(
            tiny_config,
            task="boxes",
            proposals="precomputed",
            score_threshold=0.0,
            test_proposals=1,
        )
    )
    dataset = make_dataset(tmp_path, [ELSEWHERE, [40.0, 40.0, 60.0, 60.0]])
    with mrcnn.data.ProposalWriter(tmp_path / "p", [1]) as writer:
        outside = [200.0, 0.0, 300.0, 9.0]
        writer.add(1, np.array([outside, OBJECT, ELSEWHERE]), np.array([0.9, 0.8, 0.7]))
    found = mrcnn.explain(model, dataset, 0, proposals=mrcnn.data.read_proposals(tmp_path / "p"))
    assert [row["cause"] for row in found.objects] == ["capped", "no proposal"]
    assert found.objects[0]["limit"] == "test_proposals"
    assert "given proposals" in found.objects[1]["why"]
    assert "anchors" not in found.counts
    assert (found.counts["given proposals"], found.counts["proposals"]) == (2, 1)


def test_another_name_of_the_same_class_is_refused(tiny_model, tmp_path, monkeypatch):
    dataset = make_dataset(tmp_path)
    names = {"category_ids": dataset.category_ids, "class_names": ("dog", "cat", "cow")}
    monkeypatch.setattr(tiny_model, "config", dataclasses.replace(tiny_model.config, **names))
    with pytest.raises(ValueError, match="category 1 was 'dog' in training.* name='cat'"):
        mrcnn.explain(tiny_model, dataset, 0)
