import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.layers.roi_align import RoIAlign
from keras_maskrcnn.layers.roi_layer import RoILayer
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.ops.portable import portable
from keras_maskrcnn.roi_heads import RoIHeads, per_roi


def test_the_mask_head_runs_on_as_many_slots_as_an_image_has_positives(tiny_config, batch):
    model = MaskRCNN(tiny_config)
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    features = model.features(inputs, training=True)
    calls = []
    original = model.mask_head.call
    model.mask_head.call = lambda x, **kwargs: (calls.append(x.shape[0]), original(x, **kwargs))[1]
    proposals = tf.zeros([2, 5, 4])  # so only ground-truth boxes can be sampled
    model.roi_heads.compute_losses(features, proposals, inputs["sizes"], gt, step=0)
    fullest = int(tf.reduce_max(tf.reduce_sum(tf.cast(gt["labels"] > 0, tf.int32), axis=1)))
    assert calls == [2 * fullest] and 2 * fullest < 2 * model.config.roi_batch // 4


def test_a_head_sees_the_rois_of_all_images_as_one_batch():
    shapes = []

    def head(pooled, training):
        shapes.append(pooled.shape)
        return pooled[:, 0, 0], pooled[:, :1]

    pooled = tf.random.normal([2, 3, 4, 4, 5])
    first, second = per_roi(head, pooled)
    assert shapes == [(6, 4, 4, 5)]
    np.testing.assert_array_equal(first, pooled[:, :, 0, 0])
    np.testing.assert_array_equal(second, pooled[:, :, :1])


def test_a_head_from_another_config_serves_in_its_files(tiny_config):
    heads = MaskRCNN(tiny_config).roi_heads
    again = type(heads).from_config(heads.get_config())
    assert again.config == tiny_config and again.loss_names == ("classifier", "box", "mask")
    assert list(again.networks) == ["box_head", "mask_head"]
    assert again.box_align.get_config() == heads.box_align.get_config()


# Masks of filled slots only

C4 = dict(neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0)
slow = pytest.mark.slow
HEADS = [
    {},
    C4,
    pytest.param(dict(mask_loss="softmax"), marks=slow),
    pytest.param(dict(class_agnostic_masks=True), marks=slow),
    pytest.param(dict(mask_predictor="mlp"), marks=slow),
    pytest.param(dict(head_norm="group", fpn_channels=32, mask_head_channels=32), marks=slow),
]
COUNTS = [(3, 0, 7), (0, 0, 0), (10, 10, 10)]


def finds(heads, counts, monkeypatch):
    """Makes `heads` find this number of objects in each image. Returns the boxes."""
    rng, slots = np.random.default_rng(0), heads.config.detections_per_image
    corner, side = rng.uniform(0, 40, (2, len(counts), slots, 2))
    filled = np.arange(slots) < np.array(counts)[:, None]
    boxes = np.where(filled[..., None], np.concatenate([corner, corner + side], axis=-1), 0)
    labels = np.where(filled, rng.integers(1, 4, filled.shape), 0)
    found = (
        tf.constant(boxes, tf.float32),
        tf.constant(filled, tf.float32),
        tf.constant(labels, tf.int32),
        tf.constant(counts, tf.int32),
    )
    monkeypatch.setattr(heads, "select", lambda *args: found)


def detect(model, images=3, **options):
    """Runs the heads on random maps. Returns the outputs, and gradients of the masks' sum."""
    rng = np.random.default_rng(1)
    channels = 256 if model.config.neck == "c4" else model.config.fpn_channels
    features = {
        name: tf.constant(rng.normal(size=(images, 64 // s, 96 // s, channels)), tf.float32)
        for name, s in model.strides.items()
    }
    rois, sizes = tf.zeros([images, 4, 4]), tf.fill([images, 2], 64)
    with tf.GradientTape() as tape:
        tape.watch(features)
        found = model.roi_heads.detect(features, rois, sizes, **options)
        total = tf.reduce_sum(found["masks"] ** 2)
    head = [v.value for v in model.mask_head.trainable_variables]
    zero = tf.UnconnectedGradients.ZERO  # the RPN's coarsest map has no RoI
    return found, tape.gradient(total, [*features.values(), *head], unconnected_gradients=zero)


def rois_of_masks(model, monkeypatch):
    """Returns a list that gets the number of RoIs of each call of the mask head."""
    counted, original = [], model.mask_head.call

    def call(rois, **options):
        counted.append(int(rois.shape[0]))
        return original(rois, **options)

    monkeypatch.setattr(model.mask_head, "call", call)
    return counted


@pytest.mark.parametrize("dtype", ["float32", pytest.param("mixed_bfloat16", marks=slow)])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("fields", HEADS, ids=str)
def test_masks_of_filled_slots_equal_those_of_all_slots(
    fields, counts, dtype, tiny_config, monkeypatch
):
    model = MaskRCNN(dataclasses.replace(tiny_config, **fields), dtype=dtype)
    finds(model.roi_heads, counts, monkeypatch)
    counted = rois_of_masks(model, monkeypatch)
    found, gradients = detect(model)
    monkeypatch.setattr(model.roi_heads, "_takes_owners", lambda: False)
    expected, expected_gradients = detect(model)
    assert counted == [max(sum(counts), 1), 30]
    np.testing.assert_array_equal(found["masks"], expected["masks"])
    assert np.any(found["masks"], axis=(2, 3)).sum() == sum(counts)
    if dtype == "float32":  # TensorFlow sums gradients of bfloat16 biases in bfloat16
        for gradient, other in zip(gradients, expected_gradients, strict=True):
            np.testing.assert_allclose(gradient, other, rtol=1e-4, atol=1e-5)


def test_training_and_portable_graphs_keep_all_slots(tiny_config, monkeypatch):
    model = MaskRCNN(tiny_config)
    finds(model.roi_heads, (3, 0, 7), monkeypatch)
    counted = rois_of_masks(model, monkeypatch)
    detect(model, training=True)
    with portable():
        detect(model)
    assert counted == [30, 30]


@keras.saving.register_keras_serializable(package="tests")
class OwnLayer(keras.layers.Layer):
    """A layer of a user, which knows nothing of `owners`."""

    def __init__(self, output_size, strides, **kwargs):
        super().__init__(**kwargs)
        self.ours = RoIAlign(output_size, strides)

    def call(self, features, boxes):
        return self.ours(features, boxes)


class OwnPool(RoILayer):
    """A RoI layer of a user, as the base class was in 0.1."""

    def pool(self, features, boxes, levels):
        ours = RoIAlign(self.output_size, self.strides)
        return ours.pool(features, boxes, levels)


class OwnBranch(RoIHeads):
    """Heads with a mask branch that takes all slots."""

    def mask_branch(self, features, rois, training=False):
        return super().mask_branch(features, rois, training)


@pytest.mark.parametrize("own", [OwnLayer, OwnPool, OwnBranch])
def test_parts_that_know_no_owners_get_all_slots(own, tiny_config, monkeypatch):
    model = MaskRCNN(tiny_config)
    heads = model.roi_heads
    finds(heads, (3, 0, 7), monkeypatch)
    expected, _ = detect(model)
    align, kind = heads.mask_align, RoIHeads
    if own is OwnBranch:
        kind = own
    else:
        align = own(align.output_size, align.strides)
    model.roi_heads = kind(tiny_config, heads.box_align, heads.box_head, align, heads.mask_head)
    finds(model.roi_heads, (3, 0, 7), monkeypatch)
    counted = rois_of_masks(model, monkeypatch)
    found, _ = detect(model)
    assert counted == [30]
    np.testing.assert_array_equal(found["masks"], expected["masks"])


@pytest.mark.parametrize("fields", [{}, pytest.param(C4, marks=slow)], ids=str)
def test_graphs_and_saved_models_compute_the_same_masks(fields, tiny_config, tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    images[1] //= 8
    model = MaskRCNN(dataclasses.replace(tiny_config, score_threshold=0.0, **fields))
    best = model(images)["scores"].numpy().max(axis=1)  # without a trace
    model = model.with_config(score_threshold=float(best.min()) + 1e-5)
    model.export(tmp_path / "1", verbose=False)
    serve = tf.saved_model.load(tmp_path / "1").signatures["serving_default"]
    nothing = np.repeat(images[best.argmin()][None], 3, axis=0)  # of the same shape: no new trace
    for inputs, some in ((images, True), (nothing, False)):
        found, served = model.predict(inputs, verbose=0), serve(tf.constant(inputs))
        with monkeypatch.context() as patch:
            patch.setattr(RoIHeads, "_takes_owners", lambda self: False)
            expected = model(inputs)
        assert (len(set(found["num_detections"].tolist())) > 1) == some
        assert found["num_detections"].any() == some
        for outputs in (found, served):
            for name, value in expected.items():
                np.testing.assert_allclose(outputs[name], value, atol=1e-4, err_msg=name)


def test_the_losses_know_ignored_regions(tiny_config, batch):
    model = MaskRCNN(tiny_config)
    inputs, gt = tf.nest.map_structure(tf.constant, batch)

    def losses(*region):
        ignored = {"ignored": tf.constant([[region]] * 2)}
        found = model.compute_losses(inputs, {**gt, **ignored}, training=True)
        return {name: float(value) for name, value in found.items()}

    plain, everywhere = losses(0.0, 0, 0, 0), losses(-999.0, -999, 999, 999)
    assert everywhere["rpn_box"] == plain["rpn_box"]
    assert everywhere["rpn_objectness"] < plain["rpn_objectness"]
    assert everywhere["classifier"] != plain["classifier"]
