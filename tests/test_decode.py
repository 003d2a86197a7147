import contextlib

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import decode
from keras_maskrcnn.ops import boxes as box_ops
from keras_maskrcnn.ops.portable import portable

FAR = [100.0, 100, 120, 120]
SQUARE = [10.0, 10, 20, 20]


def propose(levels, *, pre_nms=10, count=10, sizes=((200, 200),), **kwargs):
    """Makes proposals of one image from levels of (boxes, logits), with zero deltas.

    Returns:
        boxes and scores without the empty slots, as NumPy arrays.
    """
    anchors = [tf.constant(boxes, tf.float32) for boxes, _ in levels]
    logits = [tf.constant([logits], tf.float32) for _, logits in levels]
    deltas = [tf.zeros([1, *a.shape]) for a in anchors]
    boxes, scores = decode.proposals(
        logits, deltas, anchors, tf.constant(sizes), pre_nms=pre_nms, count=count, **kwargs
    )
    filled = box_ops.area(boxes[0]) > 0
    return boxes[0][filled].numpy(), scores[0][filled].numpy()


def detect(
    rois, logits, *, deltas=None, sizes=None, threshold=0.05, nms_iou=0.5, count=10, **kwargs
):
    """Makes detections from RoIs (B, R, 4) and logits (B, R, C + 1). Deltas default to zero."""
    rois, logits = tf.constant(rois, tf.float32), tf.constant(logits, tf.float32)
    if deltas is None:
        deltas = tf.zeros([*logits.shape[:2], logits.shape[2] - 1, 4])
    sizes = tf.constant(sizes or [[1000, 1000]] * rois.shape[0])
    outputs = decode.detections(
        logits,
        tf.constant(deltas),
        rois,
        sizes,
        delta_weights=(10.0, 10.0, 5.0, 5.0),
        score_threshold=threshold,
        nms_iou=nms_iou,
        count=count,
        **kwargs,
    )
    return [x.numpy() for x in outputs]


def certain(*labels, num_classes=2, p=0.9):
    """Returns logits with softmax `p` for each label and the rest for background."""
    probabilities = np.full((1, len(labels), num_classes + 1), 1e-9)
    probabilities[0, np.arange(len(labels)), 0] = 1 - np.asarray(p)
    probabilities[0, np.arange(len(labels)), labels] = p
    return np.log(probabilities)


# Proposals


def test_proposals_come_by_falling_logit():
    boxes, scores = propose([([SQUARE, FAR, [50, 50, 60, 60]], [-1, 2, 0])])
    np.testing.assert_array_equal(boxes, [FAR, [50, 50, 60, 60], SQUARE])
    assert (np.diff(scores) < 0).all()


def test_proposals_are_merged_over_levels():
    boxes, _ = propose([([SQUARE], [1.0]), ([FAR], [3.0]), ([[50, 50, 60, 60]], [2.0])])
    np.testing.assert_array_equal(boxes, [FAR, [50, 50, 60, 60], SQUARE])


@pytest.mark.parametrize("logit", [-40.0, -10.0, 0.0, 0.5, 10.0, 40.0])
def test_proposal_scores_are_sigmoids(logit):
    _, scores = propose([([SQUARE], [logit])])
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-logit))], rtol=1e-4)


@pytest.mark.parametrize("logits", [(20.0, 30.0, 40.0), (-40.0, -30.0, -20.0)])
def test_proposals_are_ordered_where_sigmoid_saturates(logits):
    boxes, _ = propose([([SQUARE, FAR, [50, 50, 60, 60]], logits)])
    np.testing.assert_array_equal(boxes, [[50, 50, 60, 60], FAR, SQUARE])


def test_suppression_prefers_the_higher_logit_where_sigmoid_saturates():
    near = [10.0, 10, 20, 19]  # IoU 0.9
    boxes, _ = propose([([SQUARE, near], [30.0, 35.0])])
    np.testing.assert_array_equal(boxes, [near])


def test_proposals_are_suppressed_above_the_iou_but_not_at_it():
    half = [10.0, 10, 20, 15]  # IoU 0.5
    kept, _ = propose([([SQUARE, half], [2.0, 1.0])], nms_iou=0.5)
    dropped, _ = propose([([SQUARE, half], [2.0, 1.0])], nms_iou=0.49)
    assert (len(kept), len(dropped)) == (2, 1)


def test_levels_do_not_suppress_each_other():
    boxes, _ = propose([([SQUARE], [1.0]), ([SQUARE], [2.0])])
    np.testing.assert_array_equal(boxes, [SQUARE, SQUARE])


def test_only_the_best_of_a_level_enter():
    spread = [[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(5)]
    boxes, _ = propose([(spread, [1.0, 5, 3, 2, 4]), ([FAR], [-9.0])], pre_nms=2)
    np.testing.assert_array_equal(boxes, [spread[1], spread[4], FAR])


def test_only_count_proposals_leave():
    spread = [[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(5)]
    boxes, _ = propose([(spread, [1.0, 5, 3, 2, 4])], count=3)
    np.testing.assert_array_equal(boxes, [spread[1], spread[4], spread[2]])


def test_level_with_fewer_anchors_than_pre_nms():
    levels = [([SQUARE], [1.0]), ([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(8)], [0.0] * 8)]
    boxes, _ = propose(levels, pre_nms=5)
    assert len(boxes) == 1 + 5


def test_empty_slots_are_zeros_at_the_end():
    boxes, scores = decode.proposals(
        [tf.constant([[3.0]])],
        [tf.zeros([1, 1, 4])],
        [tf.constant([SQUARE])],
        tf.constant([[200, 200]]),
        pre_nms=4,
        count=4,
    )
    np.testing.assert_array_equal(boxes[0], [SQUARE] + [[0, 0, 0, 0]] * 3)
    assert scores[0, 0] > 0.9
    np.testing.assert_array_equal(scores[0, 1:], [0, 0, 0])


def test_proposals_are_clipped_to_each_image():
    anchors = [tf.constant([[-5.0, -5, 90, 90]])]
    boxes, _ = decode.proposals(
        [tf.zeros([2, 1])],
        [tf.zeros([2, 1, 4])],
        anchors,
        tf.constant([[30, 40], [80, 20]]),
        pre_nms=1,
        count=1,
    )
    np.testing.assert_array_equal(boxes[:, 0], [[0, 0, 40, 30], [0, 0, 20, 80]])


def test_proposals_outside_the_image_are_dropped():
    boxes, _ = propose([([SQUARE, [300, 0, 310, 10], [-20, -20, 0, 0]], [0.0, 5.0, 5.0])])
    np.testing.assert_array_equal(boxes, [SQUARE])


def test_proposals_follow_the_deltas():
    # Twice as wide, about the same center.
    deltas = tf.constant([[[0.0, 0, np.log(2), 0]]])
    boxes, _ = decode.proposals(
        [tf.zeros([1, 1])],
        [deltas],
        [tf.constant([SQUARE])],
        tf.constant([[200, 200]]),
        pre_nms=1,
        count=1,
    )
    np.testing.assert_allclose(boxes[0, 0], [5, 10, 25, 20], rtol=1e-5)


def test_proposals_of_a_batch_are_those_of_its_images():
    anchors = [tf.random.uniform([n, 2]) * 80 for n in (30, 8)]
    anchors = [tf.concat([a, a + 20], axis=1) for a in anchors]
    logits = [tf.random.normal([2, n]) for n in (30, 8)]
    deltas = [tf.random.normal([2, n, 4]) * 0.2 for n in (30, 8)]
    sizes = tf.constant([[100, 100], [60, 90]])
    arguments = {"pre_nms": 20, "count": 12}
    boxes, scores = decode.proposals(logits, deltas, anchors, sizes, **arguments)
    for i in range(2):
        one = slice(i, i + 1)
        alone = decode.proposals(
            [x[one] for x in logits], [x[one] for x in deltas], anchors, sizes[one], **arguments
        )
        np.testing.assert_allclose(boxes[i], alone[0][0], atol=1e-4)
        np.testing.assert_allclose(scores[i], alone[1][0], rtol=1e-5)


def test_no_gradient_flows_through_proposals():
    logits, deltas = tf.zeros([1, 1]), tf.zeros([1, 1, 4])
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        boxes, scores = decode.proposals(
            [logits], [deltas], [tf.constant([SQUARE])], tf.constant([[99, 99]]), pre_nms=1, count=1
        )
        total = tf.reduce_sum(boxes) + tf.reduce_sum(scores)
    assert tape.gradient(total, [logits, deltas]) == [None, None]


# Detections


def test_detection_has_the_label_and_score_of_its_class():
    boxes, scores, labels, count = detect([[SQUARE, FAR]], certain(2, 1, p=[0.9, 0.6]))
    assert count[0] == 2
    np.testing.assert_allclose(boxes[0, :2], [SQUARE, FAR], rtol=1e-5)
    np.testing.assert_allclose(scores[0, :2], [0.9, 0.6], rtol=1e-5)
    np.testing.assert_array_equal(labels[0, :2], [2, 1])


def test_empty_detection_slots_are_zero():
    outputs = detect([[SQUARE]], certain(1))
    assert outputs[3][0] == 1
    for x in outputs[:3]:
        assert not x[0, 1:].any()


def test_background_gives_no_detections():
    boxes, scores, labels, count = detect([[SQUARE, FAR]], [[[20.0, 0, 0]] * 2])
    assert count[0] == 0
    assert not (boxes.any() or scores.any() or labels.any())


def test_padding_rois_give_no_detections():
    assert detect([[[0.0, 0, 0, 0]] * 2], certain(1, 2))[3][0] == 0


def test_roi_can_give_a_detection_of_every_class():
    _, scores, labels, count = detect([[SQUARE]], np.log([[[0.2, 0.5, 0.3]]]))
    assert count[0] == 2
    np.testing.assert_array_equal(labels[0, :2], [1, 2])
    np.testing.assert_allclose(scores[0, :2], [0.5, 0.3], rtol=1e-5)


def test_roi_gives_its_best_class_alone_if_so_asked():
    logits = np.log([[[0.25, 0.35, 0.4], [0.4, 0.35, 0.25]]])  # the second is background
    _, scores, labels, count = detect([[SQUARE, FAR]], logits, one_class=True)
    assert count[0] == 1 and labels[0, 0] == 2
    assert scores[0, 0] == pytest.approx(0.4)


def test_score_threshold_drops_what_is_below():
    rois, logits = [[SQUARE, FAR]], certain(1, 1, p=[0.31, 0.29])
    assert detect(rois, logits, threshold=0.3)[3][0] == 1


def test_classes_do_not_suppress_each_other():
    assert detect([[SQUARE, SQUARE]], certain(1, 2))[3][0] == 2
    assert detect([[SQUARE, SQUARE]], certain(1, 1))[3][0] == 1


def test_each_class_has_its_own_deltas():
    deltas = np.zeros((1, 1, 2, 4), np.float32)
    deltas[0, 0, 1] = [10.0, 0, 0, 0]  # with a weight of 10: one width to the right
    logits = np.log([[[0.2, 0.5, 0.3]]])
    boxes, *_ = detect([[SQUARE]], logits, deltas=deltas)
    np.testing.assert_allclose(boxes[0, :2], [SQUARE, [20, 10, 30, 20]], rtol=1e-5)


def test_detections_are_clipped_to_each_image():
    boxes, *_ = detect(
        [[[-5, -5, 90, 90]]] * 2, np.tile(certain(1), (2, 1, 1)), sizes=[[30, 40], [80, 20]]
    )
    np.testing.assert_allclose(boxes[:, 0], [[0, 0, 40, 30], [0, 0, 20, 80]], atol=1e-4)


def test_detections_are_the_best_count():
    spread = [[[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(5)]]
    _, scores, _, count = detect(
        spread, certain(1, 2, 1, 2, 1, p=[0.5, 0.9, 0.7, 0.6, 0.8]), count=3
    )
    assert count[0] == 3
    np.testing.assert_allclose(scores[0], [0.9, 0.8, 0.7], rtol=1e-5)


def test_detections_of_a_batch_are_those_of_its_images():
    corners = np.random.default_rng(0).uniform(0, 80, (2, 20, 2))
    rois = np.concatenate([corners, corners + 25], axis=2)
    logits = 2 * np.random.default_rng(1).normal(size=(2, 20, 4))
    sizes = [[100, 100], [60, 90]]
    batch = detect(rois, logits, sizes=sizes)
    for i in range(2):
        alone = detect(rois[i : i + 1], logits[i : i + 1], sizes=sizes[i : i + 1])
        for x, y in zip(batch, alone, strict=True):
            np.testing.assert_allclose(x[i], y[0], atol=1e-4)


def test_padding_rois_do_not_change_detections():
    logits = certain(1, 2, 1, p=[0.9, 0.8, 0.7])
    rois = [[SQUARE, FAR, [50, 50, 70, 60]]]
    padded = detect([rois[0] + [[0, 0, 0, 0]]], certain(1, 2, 1, 1, p=[0.9, 0.8, 0.7, 0.99]))
    for x, y in zip(detect(rois, logits), padded, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("iou", ["0.3", "0.5", "0.7"])
@pytest.mark.parametrize("kind", ["keep", "batched_keep"])
def test_class_wise_suppression_equals_torchvision(golden, iou, kind):
    data = golden("nms")
    truth = data["boxes"] + 10  # some lie slightly outside the image and would be clipped
    labels = data["classes"] + 1 if kind == "batched_keep" else np.ones(300, int)
    logits = certain(*labels, num_classes=5, p=data["scores"].astype(np.float64))
    boxes, scores, found, count = detect(
        truth[None], logits, threshold=1e-6, nms_iou=float(iou), count=300
    )
    keep = data[f"{kind}_{iou}"]
    assert count[0] == len(keep)
    np.testing.assert_allclose(boxes[0, : len(keep)], truth[keep], atol=1e-3)
    np.testing.assert_allclose(scores[0, : len(keep)], data["scores"][keep], rtol=1e-4)
    np.testing.assert_array_equal(found[0, : len(keep)], labels[keep])


@pytest.mark.parametrize("iou", ["0.3", "0.5", "0.7"])
def test_suppression_across_classes_equals_torchvision_without_classes(golden, iou):
    data = golden("nms")
    truth, labels = data["boxes"] + 10, data["classes"] + 1
    logits = certain(*labels, num_classes=5, p=data["scores"].astype(np.float64))
    boxes, scores, found, count = detect(
        truth[None], logits, threshold=1e-6, nms_iou=float(iou), count=300, across_classes=True
    )
    keep = data[f"keep_{iou}"]
    assert count[0] == len(keep) and len(np.unique(labels[keep])) == 5
    np.testing.assert_allclose(boxes[0, : len(keep)], truth[keep], atol=1e-3)
    np.testing.assert_allclose(scores[0, : len(keep)], data["scores"][keep], rtol=1e-4)
    np.testing.assert_array_equal(found[0, : len(keep)], labels[keep])


@pytest.mark.parametrize("operations", [contextlib.nullcontext, portable])
def test_across_classes_no_two_detections_overlap_and_the_best_stay(operations):
    corners = np.random.default_rng(0).uniform(0, 60, (2, 40, 2))
    rois = np.concatenate([corners, corners + 25], axis=2)
    logits = 2 * np.random.default_rng(1).normal(size=(2, 40, 4))
    with operations():
        found = detect(rois, logits, threshold=0.1, nms_iou=0.4, count=200, across_classes=True)
    within = detect(rois, logits, threshold=0.1, nms_iou=0.4, count=200)
    for boxes, scores, labels, count, every, every_scores in zip(*found, *within[:2], strict=True):
        every, every_scores = every[every_scores > 0], every_scores[every_scores > 0]
        assert 5 < count < len(every) and not labels[count:].any()
        overlaps = box_ops.iou(boxes[:count], boxes[:count]).numpy()
        np.fill_diagonal(overlaps, 0)
        assert overlaps.max() <= 0.4
        assert scores[0] == every_scores[0] and (np.diff(scores[:count]) <= 0).all()
        # Each one stayed, or overlaps a better one that did.
        overlaps = box_ops.iou(every, boxes[:count]).numpy()
        assert ((overlaps > 0.4) & (scores[:count] >= every_scores[:, None])).any(axis=1).all()


def test_classes_suppress_each_other_only_if_so_asked():
    assert detect([[SQUARE, SQUARE]], certain(1, 2, p=[0.9, 0.8]))[3][0] == 2
    _, scores, labels, count = detect(
        [[SQUARE, SQUARE]], certain(1, 2, p=[0.8, 0.9]), across_classes=True
    )
    assert count[0] == 1 and labels[0].tolist() == [2] + [0] * 9
    assert scores[0, 0] == pytest.approx(0.9)


def test_boxes_exactly_at_the_iou_are_kept_as_in_torchvision(golden):
    # Only the sets are compared: torchvision keeps the order of equal scores, and
    # CombinedNonMaxSuppression does not. Empty boxes are left out, because ours drops them.
    data = golden("nms")
    full = box_ops.area(data["tied_boxes"]).numpy() > 0
    keep = [i for i in data["tied_keep_0.5000"] if full[i]]
    logits = certain(*[1] * 11, p=data["tied_scores"].astype(np.float64))
    boxes, _, _, count = detect(data["tied_boxes"][None], logits, count=11)
    assert count[0] == len(keep)
    expected = data["tied_boxes"][keep]
    assert sorted(boxes[0, : len(keep)].tolist()) == sorted(expected.tolist())


@pytest.mark.parametrize("across", [False, True])
def test_gradients_reach_the_scores_and_boxes_that_were_kept(across):
    # The second RoI is dropped because it overlaps the first. The fourth is below the threshold.
    near = [10.0, 10, 20, 19]
    rois = tf.constant([[SQUARE, near, FAR, [50, 50, 60, 60]]])
    logits = tf.constant(certain(1, 1, 2, 2, p=[0.9, 0.8, 0.6, 0.01]), tf.float32)
    deltas = tf.zeros([1, 4, 2, 4])

    def run():
        with tf.GradientTape() as tape:
            tape.watch([logits, deltas])
            boxes, scores, _, _ = decode.detections(
                logits,
                deltas,
                rois,
                tf.constant([[1000, 1000]]),
                delta_weights=(10.0, 10.0, 5.0, 5.0),
                score_threshold=0.05,
                nms_iou=0.5,
                count=5,
                across_classes=across,
            )
            # The sum of twice the first score, the second score, and the end of a box.
            total = 2 * scores[0, 0] + scores[0, 1] + boxes[0, 1, 2]
        return tape.gradient(total, [logits, deltas])

    for of_logits, of_deltas in (run(), tf.function(run)()):
        # d softmax_i / d logit_j = p_i (i == j) - p_i p_j
        expected = np.zeros((1, 4, 3))
        expected[0, 0] = 2 * 0.9 * np.array([-0.1, 0.1, 0])
        expected[0, 2] = 0.6 * np.array([-0.4, 0, 0.4])
        np.testing.assert_allclose(of_logits, expected, atol=1e-5)
        # x2 = center + dx / 10 * 20 + exp(dw / 5) * 20 / 2
        expected = np.zeros((1, 4, 2, 4))
        expected[0, 2, 1] = [2, 0, 2, 0]
        np.testing.assert_allclose(of_deltas, expected, atol=1e-5)


def test_mask_probabilities_are_those_of_the_label():
    logits = tf.math.log(tf.constant([1.0, 2.0, 5.0])) * tf.ones([1, 3, 1, 1, 3])
    labels = tf.constant([[1, 2, 0]])
    sigmoid = decode.mask_probabilities(logits, labels)
    np.testing.assert_allclose(sigmoid[0, :, 0, 0], [1 / 2, 2 / 3, 0], rtol=1e-6)
    softmax = decode.mask_probabilities(logits, labels, "softmax")
    np.testing.assert_allclose(softmax[0, :, 0, 0], [2 / 8, 5 / 8, 0], rtol=1e-6)
    agnostic = decode.mask_probabilities(logits[..., 1:2], labels)
    np.testing.assert_allclose(agnostic[0, :, 0, 0], [2 / 3, 2 / 3, 0], rtol=1e-6)


@pytest.mark.parametrize("graph", [contextlib.nullcontext, portable])
def test_each_class_has_its_lowest_score(graph):
    rois = [[SQUARE, FAR, [50, 50, 60, 60], [80, 80, 90, 90]]]
    logits = certain(1, 1, 2, 2, p=[0.9, 0.7, 0.6, 0.3])
    with graph():
        _, scores, labels, count = detect(rois, logits, class_thresholds=(0.8, 0.3 - 1e-6))
        assert count == 3 and labels[0, :3].tolist() == [1, 2, 2]
        assert scores[0, :4] == pytest.approx([0.9, 0.6, 0.3, 0])
        *_, both = detect(rois, logits, class_thresholds=(0.8, 0.2), threshold=0.5)
    assert both == 2


def test_what_a_class_threshold_drops_suppresses_nothing():
    rois, logits = [[SQUARE, SQUARE]], certain(1, 2, p=[0.7, 0.6])
    options = {"across_classes": True, "class_thresholds": (0.8, 0.5)}
    _, _, labels, count = detect(rois, logits, **options)
    assert count == 1 and labels[0, 0] == 2
