import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import losses
from keras_maskrcnn.model import LOSSES, MaskRCNN


@pytest.mark.parametrize(
    ("difference", "expected"),
    [(0.0, 0.0), (0.25, 0.0625), (-0.25, 0.0625), (0.5, 0.25), (1.5, 1.25), (-1.5, 1.25)],
)
def test_smooth_l1_is_quadratic_below_beta_and_linear_above(difference, expected):
    # With beta = 0.5: x^2 below beta, |x| - 0.25 above. Both are 0.25 at beta.
    assert float(losses.smooth_l1(tf.constant(difference), 0.5)) == expected


@pytest.mark.parametrize("beta", [1 / 9, 1.0])
def test_smooth_l1_has_no_kink_at_beta(beta):
    x = tf.constant([beta * (1 - 1e-4), beta * (1 + 1e-4)])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(losses.smooth_l1(x, beta))
    np.testing.assert_allclose(tape.gradient(total, x), [1, 1], atol=2e-4)


def test_smooth_l1_with_beta_zero_is_l1():
    np.testing.assert_array_equal(losses.smooth_l1(tf.constant([-0.5, 0, 2.0]), 0), [0.5, 0, 2])


def test_smooth_l1_gradient_at_zero_is_finite():
    x = tf.zeros([2])
    for beta in (0, 1 / 9):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(losses.smooth_l1(x, beta))
        np.testing.assert_array_equal(tape.gradient(total, x), [0, 0])


def test_objectness_loss_of_undecided_logits_is_log_2():
    loss = losses.objectness_loss(tf.zeros([2, 4]), tf.constant([[1, 0, 0, 1]] * 2))
    assert float(loss) == pytest.approx(np.log(2))


def test_objectness_loss_divides_by_all_slots_but_skips_empty_ones():
    logits = tf.constant([[0.0, 99.0, 0.0, -99.0]])
    loss = losses.objectness_loss(logits, tf.constant([[1, -1, 0, -1]]))
    assert float(loss) == pytest.approx(2 * np.log(2) / 4)


def test_objectness_loss_knows_object_from_background():
    logits = tf.constant([[2.0, 2.0]])
    loss = losses.objectness_loss(logits, tf.constant([[1, 0]]))
    assert float(loss) == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 2)


def test_box_loss_sums_coordinates_and_divides_by_all_slots():
    deltas = tf.constant([[[1.0, 2, 3, 4], [9, 9, 9, 9]]])
    loss = losses.box_loss(deltas, tf.zeros([1, 2, 4]), tf.constant([[1, 0]]), 0)
    assert float(loss) == (1 + 2 + 3 + 4) / 2


def test_losses_may_be_divided_by_what_was_sampled():
    # Three of four slots are filled; one is positive.
    labels = tf.constant([[1, 0, 0, -1]])
    box = losses.box_loss(tf.ones([1, 4, 4]), tf.zeros([1, 4, 4]), labels, 0, "sampled")
    assert float(box) == pytest.approx(4 / 3)
    objectness = losses.objectness_loss(tf.zeros([1, 4]), labels, "sampled")
    assert float(objectness) == pytest.approx(np.log(2))
    classifier = losses.classifier_loss(tf.zeros([1, 4, 5]), labels, "sampled")
    assert float(classifier) == pytest.approx(np.log(5))
    nothing = tf.constant([[-1, -1, -1, -1]])
    assert float(losses.objectness_loss(tf.zeros([1, 4]), nothing, "sampled")) == 0.0


def test_box_loss_without_positives_is_zero():
    loss = losses.box_loss(tf.ones([2, 3, 4]), tf.zeros([2, 3, 4]), tf.zeros([2, 3], tf.int32), 1)
    assert float(loss) == 0.0


def test_box_loss_equals_torchvision(golden):
    data = golden("losses")
    labels = data["labels"]
    deltas = data["box_regression"].reshape(24, 5, 4)[np.arange(24), labels]
    loss = losses.box_loss(deltas[None], data["targets"][None], labels[None], 1 / 9)
    assert float(loss) == pytest.approx(float(data["loss_box_reg"]), rel=1e-5)


def test_classifier_loss_equals_torchvision(golden):
    data = golden("losses")
    labels = tf.constant(data["labels"][None], tf.int32)
    loss = losses.classifier_loss(data["class_logits"][None], labels)
    assert float(loss) == pytest.approx(float(data["loss_classifier"]), rel=1e-5)


def test_classifier_loss_divides_by_all_slots_but_skips_empty_ones():
    loss = losses.classifier_loss(tf.zeros([1, 4, 3]), tf.constant([[2, 0, -1, -1]]))
    assert float(loss) == pytest.approx(2 * np.log(3) / 4)


def test_classifier_loss_has_no_gradient_on_empty_slots():
    logits = tf.random.normal([1, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.classifier_loss(logits, tf.constant([[1, -1]]))
    gradient = tape.gradient(loss, logits)
    assert np.abs(gradient[0, 0]).min() > 0
    np.testing.assert_array_equal(gradient[0, 1], [0, 0, 0])


def test_mask_loss_reads_the_mask_of_the_true_class_only():
    logits = np.full((1, 1, 2, 2, 3), 50.0, np.float32)
    logits[..., 1] = 0.0  # label 2
    targets = tf.constant([[[[1.0, 0.0], [0.0, 1.0]]]])
    loss = losses.mask_loss(tf.constant(logits), targets, tf.constant([[2]]))
    assert float(loss) == pytest.approx(np.log(2))


def test_mask_loss_is_the_mean_over_rois_with_a_class():
    logits = tf.reshape([0.0, 3, 50, 50], [1, 4, 1, 1, 1]) * tf.ones([1, 4, 2, 2, 1])
    loss = losses.mask_loss(logits, tf.ones([1, 4, 2, 2]), tf.constant([[1, 1, 0, -1]]))
    assert float(loss) == pytest.approx((np.log(2) + np.log1p(np.exp(-3))) / 2)


def test_mask_loss_without_objects_is_zero_and_so_is_its_gradient():
    logits = tf.random.normal([1, 2, 2, 2, 3])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.mask_loss(logits, tf.zeros([1, 2, 2, 2]), tf.constant([[0, -1]]))
    assert float(loss) == 0.0
    np.testing.assert_array_equal(tape.gradient(loss, logits), tf.zeros_like(logits))


def test_softmax_lets_the_classes_of_a_pixel_compete():
    # Three channels, background first. The label's channel has e^logit = 2, the others have 1.
    logits = np.zeros((1, 1, 1, 2, 3), np.float32)
    logits[..., 2] = np.log(2)
    targets, labels = tf.constant([[[[1.0, 0.0]]]]), tf.constant([[2]])
    loss = losses.mask_loss(tf.constant(logits), targets, labels, "softmax")
    assert float(loss) == pytest.approx((-np.log(2 / 4) - np.log(1 / 4)) / 2)
    logits[..., 1] = 5.0  # another class' mask, which does not affect the sigmoid loss
    more = losses.mask_loss(tf.constant(logits), targets, labels, "softmax")
    assert float(more) > float(loss) + 1


def test_class_agnostic_masks_are_trained_for_every_class():
    logits = tf.zeros([1, 2, 1, 1, 1])
    targets = tf.ones([1, 2, 1, 1])
    loss = losses.mask_loss(logits, targets, tf.constant([[1, 7]]))
    assert float(loss) == pytest.approx(np.log(2))


def test_losses_of_bfloat16_logits_are_float32():
    half = tf.bfloat16
    labels = tf.constant([[1, 0]])
    values = (
        losses.objectness_loss(tf.zeros([1, 2], half), labels),
        losses.box_loss(tf.zeros([1, 2, 4], half), tf.zeros([1, 2, 4]), labels, 1.0),
        losses.classifier_loss(tf.zeros([1, 2, 3], half), labels),
        losses.mask_loss(tf.zeros([1, 2, 2, 2, 3], half), tf.zeros([1, 2, 2, 2]), labels),
    )
    assert [value.dtype for value in values] == [tf.float32] * 4


def test_images_without_objects_have_finite_losses_and_none_of_boxes_and_masks(tiny_config, batch):
    inputs, gt = batch
    empty = {name: np.zeros_like(array) for name, array in gt.items()}
    terms = MaskRCNN(tiny_config).compute_losses(inputs, empty, training=False)
    values = {name: float(terms[name]) for name in LOSSES}
    assert values["rpn_box"] == values["box"] == values["mask"] == 0.0
    assert 0 < values["rpn_objectness"] < np.inf
    assert 0 < values["classifier"] < np.inf
