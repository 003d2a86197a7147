import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import targets
from keras_maskrcnn.ops import masks as mask_ops

PADDING = [0.0, 0, 0, 0]


def label_anchors(anchors, gt_boxes, **kwargs):
    """Labels the anchors of one image. Returns NumPy arrays."""
    labels, matched = targets.anchor_labels(
        tf.constant(anchors, tf.float32), tf.constant([gt_boxes], tf.float32), **kwargs
    )
    return labels[0].numpy(), matched[0].numpy()


def test_anchor_labels_by_overlap():
    # IoU with the box: 1, 0.8, 0.5, 0.1, 0.
    anchors = [[0, 0, width, 10] for width in (10, 8, 5, 1)] + [[20, 0, 30, 10]]
    labels, _ = label_anchors(anchors, [[0, 0, 10, 10]])
    np.testing.assert_array_equal(labels, [1, 1, -1, 0, 0])


@pytest.mark.parametrize(("iou", "label"), [("positive", 1), ("negative", -1)])
def test_anchor_labels_at_a_threshold(iou, label):
    # The second anchor has IoU 0.5: positive at the upper threshold, not negative at the lower.
    limits = {"positive": (0.5, 0.3), "negative": (0.7, 0.5)}[iou]
    labels, _ = label_anchors(
        [[0, 0, 10, 10], [0, 0, 10, 5]],
        [[0, 0, 10, 10]],
        positive_iou=limits[0],
        negative_iou=limits[1],
    )
    assert labels[1] == label


def test_anchor_that_overlaps_a_box_most_is_positive_below_the_threshold():
    labels, _ = label_anchors([[0, 0, 2, 10], [0, 0, 1, 10]], [[0, 0, 10, 10]])
    np.testing.assert_array_equal(labels, [1, 0])


def test_all_anchors_that_tie_for_a_box_are_positive():
    labels, _ = label_anchors([[0, 0, 2, 10], [8, 0, 10, 10]], [[0, 0, 10, 10]])
    np.testing.assert_array_equal(labels, [1, 1])


def test_anchor_is_matched_to_the_box_it_overlaps_most():
    # The second box has no better anchor, but that anchor still belongs to the first.
    labels, matched = label_anchors([[0, 0, 10, 10]], [[0, 0, 10, 10], [0, 0, 10, 2]])
    assert labels[0] == 1
    assert matched[0] == 0


def test_padding_boxes_have_no_anchors():
    labels, _ = label_anchors([[0, 0, 10, 10], [0, 0, 0, 0]], [PADDING, PADDING])
    np.testing.assert_array_equal(labels, [0, 0])


def test_padding_boxes_do_not_change_labels(golden):
    data = golden("boxes")
    boxes = data["match_truth"].tolist()
    labels, matched = label_anchors(data["match_candidates"], boxes)
    padded_labels, padded_matched = label_anchors(data["match_candidates"], boxes + [PADDING])
    np.testing.assert_array_equal(padded_labels, labels)
    np.testing.assert_array_equal(padded_matched, matched)


def test_anchor_labels_equal_torchvision(golden):
    data = golden("boxes")
    labels, matched = label_anchors(data["match_candidates"], data["match_truth"])
    expected = data["matched_rpn"]  # index of the box; -1 negative, -2 ignored
    np.testing.assert_array_equal(labels, np.choose(np.minimum(expected, 0) + 2, [-1, 0, 1]))
    np.testing.assert_array_equal(matched[labels == 1], expected[labels == 1])


def test_sample_puts_positives_first_and_keeps_the_counts():
    labels = tf.constant([[0] * 50 + [1] * 50])
    indices, drawn = targets.sample(labels, tf.random.uniform([1, 100]), 16, 4)
    np.testing.assert_array_equal(drawn[0], [1] * 4 + [0] * 12)
    np.testing.assert_array_equal(tf.gather(labels[0], indices[0]), drawn[0])
    assert len(np.unique(indices)) == 16


def test_sample_fills_up_with_negatives_where_positives_lack():
    labels = tf.constant([[0] * 50 + [1] * 2])
    _, drawn = targets.sample(labels, tf.random.uniform([1, 52]), 16, 4)
    np.testing.assert_array_equal(drawn[0], [1] * 2 + [0] * 14)


def test_sample_leaves_slots_empty_rather_than_draw_ignored_ones():
    labels = tf.constant([[-1] * 50 + [1, 0, 0]])
    _, drawn = targets.sample(labels, tf.random.uniform([1, 53]), 8, 4)
    np.testing.assert_array_equal(drawn[0], [1, 0, 0] + [-1] * 5)


def test_sample_does_not_exceed_the_positives_where_negatives_lack():
    labels = tf.constant([[1] * 50 + [0]])
    _, drawn = targets.sample(labels, tf.random.uniform([1, 51]), 8, 4)
    np.testing.assert_array_equal(drawn[0], [1] * 4 + [0] + [-1] * 3)


def test_sample_of_fewer_than_count():
    indices, drawn = targets.sample(tf.constant([[1, 0, 0]]), tf.random.uniform([1, 3]), 8, 4)
    np.testing.assert_array_equal(drawn[0], [1, 0, 0] + [-1] * 5)
    assert np.max(indices) < 3


def test_empty_slots_do_not_depend_on_padding_behind_the_candidates():
    labels, noise = tf.constant([[-1, 0, 1, -1, -1]]), tf.random.uniform([1, 5])
    indices, drawn = targets.sample(labels, noise, 8, 4)
    np.testing.assert_array_equal(indices, [[2, 1] + [0] * 6])
    shorter = targets.sample(labels[:, :3], noise[:, :3], 8, 4)
    np.testing.assert_array_equal(shorter[0], indices)
    np.testing.assert_array_equal(shorter[1], drawn)


def test_sample_takes_the_largest_noise():
    labels, noise = tf.constant([[1, 1, 1, 0, 0]]), tf.constant([[0.2, 0.8, 0.5, 0.1, 0.9]])
    indices, _ = targets.sample(labels, noise, 3, 2)
    np.testing.assert_array_equal(indices, [[1, 2, 4]])


def test_sample_is_decided_by_the_noise_alone():
    labels, noise = tf.constant([[0, 1] * 20] * 2), tf.random.uniform([2, 40])
    first, second = (targets.sample(labels, noise, 8, 4)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other, _ = targets.sample(labels, tf.random.uniform([2, 40]), 8, 4)
    assert not np.array_equal(first, other)


def test_sample_draws_uniformly():
    indices, _ = targets.sample(tf.constant([[0] * 10] * 2000), tf.random.uniform([2000, 10]), 5, 1)
    counts = np.bincount(np.ravel(indices), minlength=10)
    np.testing.assert_allclose(counts, np.full(10, 1000), rtol=0.12)  # 5 deviations of 22


def test_sample_noise_close_to_one_does_not_turn_negatives_into_positives():
    largest = np.float32(1 - 2**-23)  # the largest number of tf.random.uniform
    _, drawn = targets.sample(tf.constant([[0, 0]]), tf.fill([1, 2], largest), 2, 1)
    np.testing.assert_array_equal(drawn, [[0, 0]])


def sample_rois(proposals, gt_boxes, gt_labels, count=8, **kwargs):
    proposals, gt_boxes = tf.constant([proposals], tf.float32), tf.constant([gt_boxes], tf.float32)
    noise = tf.random.uniform([1, proposals.shape[1] + gt_boxes.shape[1]])
    outputs = targets.sample_rois(
        proposals, gt_boxes, tf.constant([gt_labels]), noise, count=count, **kwargs
    )
    return [x[0].numpy() for x in outputs]


def test_sample_rois_adds_the_ground_truth():
    rois, labels, matched = sample_rois([[50, 50, 60, 60]], [[0, 0, 10, 10], PADDING], [7, 0])
    np.testing.assert_array_equal(labels, [7, 0] + [-1] * 6)
    np.testing.assert_array_equal(rois[:2], [[0, 0, 10, 10], [50, 50, 60, 60]])
    assert matched[0] == 0


def test_sample_rois_is_positive_at_the_threshold():
    rois, labels, _ = sample_rois([[0, 0, 10, 5], [0, 0, 10, 4]], [[0, 0, 10, 10]], [7])
    assert {tuple(roi) for roi in rois[labels == 7]} == {(0, 0, 10, 5), (0, 0, 10, 10)}
    assert {tuple(roi) for roi in rois[labels == 0]} == {(0, 0, 10, 4)}


def test_sample_rois_takes_at_most_a_quarter_positives():
    proposals = [[0, 0, 10, 10]] * 20 + [[50, 50, 60, 60]] * 20
    _, labels, _ = sample_rois(proposals, [[0, 0, 10, 10]], [7])
    np.testing.assert_array_equal(labels, [7] * 2 + [0] * 6)


def test_sample_rois_takes_one_positive_from_a_small_batch():
    _, labels, _ = sample_rois([[50, 50, 60, 60]] * 3, [[0, 0, 10, 10]], [7], count=2)
    np.testing.assert_array_equal(labels, [7, 0])


def test_sample_rois_labels_by_the_matched_box():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10]]
    rois, labels, matched = sample_rois([[20, 0, 30, 9]], boxes, [3, 5], positive_fraction=1.0)
    order = np.argsort(rois[:3, 0], kind="stable")
    np.testing.assert_array_equal(labels[:3][order], [3, 5, 5])
    np.testing.assert_array_equal(matched[:3][order], [0, 1, 1])


def test_sample_rois_of_an_image_without_objects_are_background():
    _, labels, _ = sample_rois([[50, 50, 60, 60]] * 3 + [PADDING] * 3, [PADDING], [0])
    np.testing.assert_array_equal(labels, [0] * 3 + [-1] * 5)


def test_roi_labels_equal_torchvision(golden):
    data = golden("boxes")
    candidates, truth = data["match_candidates"], data["match_truth"]
    classes = np.arange(1, 7)
    rois, labels, matched = sample_rois(candidates, truth, classes, count=94, positive_fraction=1.0)
    assert (labels >= 0).all()  # every candidate and every box is drawn
    expected = dict(zip(map(tuple, candidates), data["matched_head"], strict=True))
    expected |= {tuple(box): i for i, box in enumerate(truth)}
    found = {
        tuple(roi): match if label else -1
        for roi, label, match in zip(rois, labels, matched, strict=True)
    }
    assert found == expected


def cut_masks(rois, gt_box, mask, size):
    """Computes mask targets of one image with one object: (F, size, size)."""
    rois = tf.constant([rois], tf.float32)
    return targets.mask_targets(
        rois,
        tf.constant([[gt_box]], tf.float32),
        tf.constant(mask[None, None]),
        tf.zeros([1, rois.shape[1]], tf.int32),
        size,
    )[0].numpy()


def random_mask(side):
    return (np.random.default_rng(0).random((side, side)) < 0.5).astype(np.uint8) * 255


def test_mask_target_of_the_box_itself_is_its_mask():
    mask = random_mask(8)
    result = cut_masks([[4, 4, 20, 36]], [4, 4, 20, 36], mask, 8)
    np.testing.assert_array_equal(result[0], mask / 255)


def test_mask_target_of_a_shifted_roi_is_half_the_mask_and_half_empty():
    mask = random_mask(8)
    result = cut_masks([[12, 4, 28, 36], [4, 20, 20, 52]], [4, 4, 20, 36], mask, 8)
    np.testing.assert_array_equal(result[0, :, :4], mask[:, 4:] / 255)
    np.testing.assert_array_equal(result[0, :, 4:], np.zeros((8, 4)))
    np.testing.assert_array_equal(result[1, :4], mask[4:] / 255)
    np.testing.assert_array_equal(result[1, 4:], np.zeros((4, 8)))


def test_mask_target_of_a_quarter_is_that_quarter_enlarged():
    full = np.zeros((8, 8), np.uint8)
    full[:4, :2] = 255
    result = cut_masks([[0, 0, 8, 8]], [0, 0, 16, 16], full, 8)
    expected = np.zeros((8, 8))
    expected[:, :4] = 1
    np.testing.assert_array_equal(result[0], expected)


def test_mask_target_of_a_full_mask_is_full_to_the_edges():
    result = cut_masks([[0, 0, 10, 10]], [0, 0, 10, 10], np.full((112, 112), 255, np.uint8), 28)
    np.testing.assert_array_equal(result[0], np.ones((28, 28)))


def test_mask_target_of_an_roi_elsewhere_is_empty():
    result = cut_masks([[50, 50, 60, 60]], [0, 0, 10, 10], np.full((8, 8), 255, np.uint8), 8)
    np.testing.assert_array_equal(result[0], np.zeros((8, 8)))


def test_mask_targets_follow_the_matched_box():
    masks = np.stack([np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8)])[None]
    boxes = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 10]]])
    rois, matched = tf.tile(boxes[:, :1], [1, 3, 1]), tf.constant([[1, 0, 1]])
    result = targets.mask_targets(rois, boxes, tf.constant(masks), matched, 2)
    np.testing.assert_array_equal(tf.reduce_mean(result, axis=[2, 3]), [[0, 1, 0]])


def test_mask_targets_of_padding_are_finite():
    padding = tf.constant([[PADDING]])
    masks = tf.zeros([1, 1, 4, 4], tf.uint8)
    rois = tf.constant([[[0.0, 0, 1333, 1333], PADDING]])
    result = targets.mask_targets(rois, padding, masks, tf.zeros([1, 2], tf.int32), 2)
    np.testing.assert_array_equal(result, tf.zeros([1, 2, 2, 2]))


def test_mask_targets_agree_with_detectron2(golden):
    # detectron2 samples a mask of the image's size. Ours is stored as 112 x 112 in its box first.
    data = golden("mask_targets")
    boxes, stored = [], []
    for mask in data["gt_masks"]:
        ys, xs = np.nonzero(mask)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        stored.append(mask_ops.crop(mask, boxes[-1], 112))
    result = targets.mask_targets(
        tf.constant(data["boxes"][None]),
        tf.constant([boxes], tf.float32),
        tf.constant([stored]),
        tf.constant(data["roi_index"][None], tf.int32),
        28,
    )[0]
    agreement = np.mean(np.asarray(result) == data["mask_targets_28"], axis=(1, 2))
    assert agreement.min() > 0.97


def test_mask_targets_take_masks_of_any_side_in_one_graph():
    @tf.function(input_signature=[tf.TensorSpec([1, 1, None, None])])
    def half(masks):
        box = tf.constant([[[0.0, 0, 20, 10]]])
        return targets.mask_targets(box, box, masks, tf.zeros([1, 1], tf.int32), 4)

    for side in (28, 56):
        masks = np.zeros((1, 1, side, side), np.float32)
        masks[..., : side // 2] = 255
        np.testing.assert_array_equal(half(masks)[0, 0], [[1, 1, 0, 0]] * 4)


# Ignored regions


def test_background_is_ignored_from_half_of_its_box_in_one_region_on():
    # Shares of 0.5, 0.4, 0.8 in two regions of 0.4 each, 1 but positive, 1, and padding.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 12.5], [0, 18, 10, 28], [0, 0, 5, 5], [2, 2, 4, 4], PADDING]
    regions = [[0, 0, 20, 5], [0, 20, 10, 24], [0, 24, 10, 28], PADDING]
    labels = tf.constant([[0, 0, 0, 1, -1, 0]])
    boxes, regions = tf.constant([boxes], tf.float32), tf.constant([regions], tf.float32)
    for of_batch in boxes, boxes[0]:  # RoIs differ between images, anchors do not
        found = targets.without_ignored(labels, of_batch, regions)
        np.testing.assert_array_equal(found, [[-1, 0, 0, 1, -1, 0]])
    assert targets.without_ignored(labels, boxes, None) is labels


def test_rois_in_ignored_regions_are_not_drawn_as_background():
    proposals = tf.constant([[[0.0, 0, 10, 10], [50, 50, 60, 60], [30, 30, 40, 40], PADDING]])
    gt_boxes, gt_labels = tf.constant([[[0.0, 0, 10, 9], PADDING]]), tf.constant([[3, 0]])
    noise = tf.constant([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    regions = tf.constant([[[0.0, 0, 45, 45]]])
    labels = {}
    for ignored in (None, regions):
        rois, found, _ = targets.sample_rois(
            proposals, gt_boxes, gt_labels, noise, count=8, ignored=ignored
        )
        labels[ignored is None] = found[0].numpy().tolist()
    assert labels[True] == [3, 3, 0, 0, -1, -1, -1, -1]
    # The object in the region stays positive; of the others, only that outside is background.
    assert labels[False] == [3, 3, 0, -1, -1, -1, -1, -1]
    np.testing.assert_array_equal(rois[0, 2], [50, 50, 60, 60])


def test_ignored_regions_are_no_slots():
    gt = {"labels": tf.constant([[1, 0, 0]]), "ignored": tf.zeros([1, 8, 4])}
    found = targets.without_empty_slots(gt)
    assert found["labels"].shape == (1, 1) and found["ignored"].shape == (1, 8, 4)
