import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers import heads
from keras_maskrcnn.levels import STRIDES
from keras_maskrcnn.rpn import RegionProposalNetwork


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return {
        level: tf.constant(rng.normal(size=(1, 64 // stride, 96 // stride, 8)), tf.float32)
        for level, stride in STRIDES["fpn"].items()
    }


@pytest.fixture
def make(tiny_config):
    def make(**fields):
        return RegionProposalNetwork(
            dataclasses.replace(tiny_config, **fields), heads.rpn_head(8, num_anchors=3)
        )

    return make


def test_each_anchor_has_a_logit_and_deltas(make, features):
    outputs = make()(features)
    counts = [16 * 24 * 3, 8 * 12 * 3, 4 * 6 * 3, 2 * 3 * 3, 1 * 1 * 3]
    assert [x.shape[0] for x in outputs.anchors] == counts
    assert [x.shape for x in outputs.logits] == [(1, n) for n in counts]
    assert [x.shape for x in outputs.deltas] == [(1, n, 4) for n in counts]
    logits, deltas, anchors = outputs.joined()
    assert logits.shape[1] == deltas.shape[1] == anchors.shape[0] == sum(counts)


def test_anchors_of_matterport_end_on_their_last_pixel(make, features):
    ours = make().anchors(features)[0]
    theirs = make(anchor_rule="matterport").anchors(features)[0]
    np.testing.assert_array_equal(ours - theirs, np.tile([0, 0, 1, 1], (len(ours), 1)))


def test_limits_take_the_place_of_the_configs(make, features):
    rpn, sizes = make(), tf.constant([[64, 96]])
    outputs = rpn(features)
    boxes, scores = rpn.select(outputs, sizes)
    fewer, best = rpn.select(outputs, sizes, count=3)
    assert boxes.shape == (1, 40, 4) and fewer.shape == (1, 3, 4)
    np.testing.assert_array_equal(fewer, boxes[:, :3])
    np.testing.assert_allclose(best, scores[:, :3], rtol=1e-6)  # rounding differs at its end
    assert rpn.select_for_training(outputs, sizes).shape == (1, 40, 4)


def test_proposals_that_are_not_finite_do_not_reach_the_heads(make, features):
    rpn = make()
    outputs = rpn(features)
    broken = outputs._replace(deltas=[x * np.nan for x in outputs.deltas])
    assert np.isfinite(rpn.select_for_training(broken, tf.constant([[64, 96]]))).all()


def test_losses_are_of_the_anchors_that_the_step_draws(make, features):
    rpn, sizes = make(), tf.constant([[64, 96]])
    gt = {"boxes": tf.constant([[[8.0, 8.0, 40.0, 32.0]]])}
    outputs = rpn(features)
    first, again, other = (rpn.compute_losses(outputs, sizes, gt, step) for step in (0, 0, 1))
    assert tuple(first) == rpn.loss_names and all(float(x) > 0 for x in first.values())
    assert {k: float(v) for k, v in first.items()} == {k: float(v) for k, v in again.items()}
    assert float(first["rpn_objectness"]) != float(other["rpn_objectness"])


def test_anchors_in_ignored_regions_are_no_background(make, features):
    rpn, sizes = make(), tf.constant([[64, 96]])
    outputs = rpn(features)
    gt = {"boxes": tf.constant([[[8.0, 8.0, 40.0, 32.0]]])}

    def losses(*regions):
        ignored = {} if not regions else {"ignored": tf.constant([regions])}
        found = rpn.compute_losses(outputs, sizes, {**gt, **ignored}, step=0)
        return {name: float(value) for name, value in found.items()}

    assert losses() == losses([0.0, 0, 0, 0])  # padding
    everywhere = losses([-1000.0, -1000, 1000, 1000])
    assert everywhere["rpn_box"] == losses()["rpn_box"]  # the positives are the same
    assert 0 < everywhere["rpn_objectness"] < losses()["rpn_objectness"]
