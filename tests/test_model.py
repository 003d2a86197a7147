"""The assembled model: its outputs, its losses, its train step, its files."""

import dataclasses
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn.model import LOSSES, SHARES, MaskRCNN


@pytest.fixture
def model(tiny_config):
    model = MaskRCNN(dataclasses.replace(tiny_config, score_threshold=0.0))
    model.compile(optimizer=mrcnn.training.sgd(0.01, warmup_steps=0))
    return model


def dataset(batch, steps):
    return tf.data.Dataset.from_tensors(batch).repeat(steps)


def assert_same(first, second, tolerance=0.0):
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=tolerance, rtol=0, err_msg=name)


@pytest.mark.usefixtures("eager")
def test_outputs_have_the_promised_shapes_and_dtypes(model, batch):
    found = model.predict(batch[0], verbose=0)
    shapes = {name: (value.shape, value.dtype.name) for name, value in found.items()}
    assert shapes == {
        "boxes": ((2, 10, 4), "float32"),
        "scores": ((2, 10), "float32"),
        "labels": ((2, 10), "int32"),
        "masks": ((2, 10, 28, 28), "float32"),
        "num_detections": ((2,), "int32"),
    }


@pytest.mark.parametrize("fields", [{}, {"task": "boxes"}, {"task": "proposals"}], ids=str)
def test_shapes_and_dtypes_are_known_without_a_call(fields, tiny_config, batch):
    model = MaskRCNN(dataclasses.replace(tiny_config, **fields))
    found = model(batch[0])
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert model.compute_output_shape((2, 64, 96, 3)) == shapes
    assert model.compute_output_shape({"images": (2, 64, 96, 3)}) == shapes
    symbolic = model(keras.Input((64, 96, 3)))
    assert {name: (None, *shape[1:]) for name, shape in shapes.items()} == {
        name: value.shape for name, value in symbolic.items()
    }
    dtypes = {name: value.dtype.name for name, value in found.items()}
    assert {name: value.dtype for name, value in symbolic.items()} == dtypes


@pytest.mark.parametrize("training", [True, False])
def test_gradients_flow_from_detections_but_not_through_proposals(model, batch, training):
    with tf.GradientTape(persistent=True) as tape:
        found = model(batch[0], training=training)
        totals = {name: tf.reduce_sum(found[name]) for name in ("scores", "boxes", "masks")}
    branches = dict(scores="class_logits", boxes="box_deltas", masks="deconv")
    for name, layer in branches.items():
        head = model.mask_head if name == "masks" else model.box_head
        kernels = [head.get_layer(layer).kernel, model.backbone.get_layer("stem").kernel]
        for gradient in tape.gradient(totals[name], [kernel.value for kernel in kernels]):
            assert np.isfinite(gradient).all() and np.any(gradient)
        proposed = [v.value for v in model.rpn_head.trainable_variables]
        assert tape.gradient(totals[name], proposed) == [None] * len(proposed)


@pytest.mark.usefixtures("eager")
def test_boxes_are_in_the_original_image_and_sorted_by_score(model, batch):
    found = model.predict(batch[0], verbose=0)
    for i, (height, width) in enumerate(batch[0]["original_sizes"]):
        assert found["num_detections"][i] > 0
        assert (found["boxes"][i] >= 0).all()
        assert (found["boxes"][i] <= np.array([width, height] * 2) + 1e-3).all()
        assert (np.diff(found["scores"][i]) <= 0).all()


@pytest.mark.usefixtures("eager")
def test_empty_slots_are_zero(tiny_config, batch):
    model = MaskRCNN(dataclasses.replace(tiny_config, score_threshold=1.0))
    found = model.predict(batch[0], verbose=0)
    assert all(not value.any() for value in found.values())


@pytest.mark.usefixtures("eager")
def test_plain_images_give_what_prepared_ones_give(model):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    sizes = np.array([[64, 96]] * 2, np.int32)
    prepared = {"images": images.astype(np.float32), "sizes": sizes, "original_sizes": sizes}
    assert_same(model.predict(prepared, verbose=0), model.predict(images, verbose=0), 1e-5)


@pytest.mark.usefixtures("eager")
def test_an_image_alone_gives_what_it_gives_in_a_batch(model, batch):
    together = model.predict(batch[0], verbose=0)
    alone = model.predict({name: value[:1] for name, value in batch[0].items()}, verbose=0)
    assert_same({name: value[:1] for name, value in together.items()}, alone, 1e-4)


def test_wrong_inputs_are_refused(model, batch):
    with pytest.raises(ValueError, match="original_sizes"):
        model({name: batch[0][name] for name in ("images", "sizes")})
    with pytest.raises(ValueError, match=r"\(B, H, W, 3\)"):
        model(np.zeros((64, 64, 3), np.float32))
    with pytest.raises(ValueError, match="inputs only"):
        model.fit(tf.data.Dataset.from_tensors(batch[0]), verbose=0)
    with pytest.raises(ValueError, match="cannot be weighted. Received: sample_weight"):
        model.fit(*batch, sample_weight=np.ones(2), verbose=0)


def test_all_losses_are_finite_and_positive(model, batch):
    terms = model.compute_losses(*tf.nest.map_structure(tf.constant, batch))
    assert tuple(terms) == LOSSES
    assert all(np.isfinite(value) and value > 0 for value in terms.values())


@pytest.mark.usefixtures("eager")
def test_a_batch_without_objects_trains_the_classifiers_only(model, batch):
    inputs, gt = batch
    gt = {name: np.zeros_like(value) for name, value in gt.items()}
    terms = model.compute_losses(*tf.nest.map_structure(tf.constant, (inputs, gt)))
    assert terms["rpn_box"] == terms["box"] == terms["mask"] == 0
    assert terms["rpn_objectness"] > 0 and terms["classifier"] > 0
    logs = model.train_on_batch(inputs, gt, return_dict=True)
    assert np.isfinite(logs["loss"])
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_empty_slots_do_not_change_the_losses(model, batch):
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    more = {name: tf.pad(x, [[0, 0], [0, 4]] + [[0, 0]] * (x.ndim - 2)) for name, x in gt.items()}
    fewer = {name: x[:, :2] for name, x in gt.items()}
    expected = model.compute_losses(inputs, gt, training=False)
    assert_same(expected, model.compute_losses(inputs, more, training=False))
    assert_same(expected, model.compute_losses(inputs, fewer, training=False))


def test_every_trainable_weight_gets_a_gradient(model, batch):
    inputs, gt = tf.nest.map_structure(tf.constant, batch)
    with tf.GradientTape() as tape:
        total = tf.add_n(list(model.compute_losses(inputs, gt).values()))
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    without = [
        variable.path
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
        if gradient is None or not np.any(gradient)
    ]
    assert without == []


@pytest.mark.usefixtures("eager")
def test_a_keras_file_gives_the_same_model_back(model, batch, tmp_path):
    model.fit(dataset(batch, 1), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.config == model.config
    assert_same(model.predict(batch[0], verbose=0), loaded.predict(batch[0], verbose=0))
    assert loaded.optimizer.iterations == 1
    loaded.fit(dataset(batch, 1), verbose=0)
    assert loaded.optimizer.iterations == 2


@pytest.mark.usefixtures("eager")
def test_a_weights_file_gives_the_same_weights_back(model, tiny_config, batch, tmp_path):
    model.save_weights(tmp_path / "model.weights.h5")
    other = MaskRCNN(model.config)
    other.load_weights(tmp_path / "model.weights.h5")
    assert_same(model.predict(batch[0], verbose=0), other.predict(batch[0], verbose=0))


@pytest.mark.usefixtures("eager")
def test_with_config_keeps_the_weights(model, batch):
    fewer = model.with_config(detections_per_image=3)
    expected = model.predict(batch[0], verbose=0)
    found = fewer.predict(batch[0], verbose=0)
    np.testing.assert_array_equal(found["boxes"], expected["boxes"][:, :3])


@pytest.mark.parametrize("fields", [{"in_channels": 5}, {"num_classes": 7, "nms_iou": 0.5}])
def test_with_config_says_what_to_do_about_fields_that_change_shapes(model, fields):
    words = (
        r"^fields of with_config must .* weights\.start_from\(other, model, 'the first model'\)\."
    )
    with pytest.raises(ValueError, match=words) as caught:
        model.with_config(**fields)
    received = ", ".join(f"{name}={value!r}" for name, value in fields.items())
    assert str(caught.value).endswith(f" Received: {received}.")
    if "in_channels" in fields:
        other = MaskRCNN(dataclasses.replace(model.config, pixel_mean=(), pixel_std=(), **fields))
        assert mrcnn.weights.start_from(other, model, "the first model") == []  # as it says


@pytest.mark.usefixtures("eager")
def test_group_norm_and_norm_in_heads_build_and_train(tiny_config, batch):
    config = dataclasses.replace(
        tiny_config, norm="group", head_norm="group", fpn_channels=32, mask_head_channels=32
    )
    model = MaskRCNN(config)
    model.compile(optimizer=mrcnn.training.sgd(0.001, warmup_steps=0))
    assert np.isfinite(model.fit(dataset(batch, 1), verbose=0).history["loss"][0])


@pytest.mark.usefixtures("eager")
def test_bfloat16_computes_boxes_in_float32(tiny_config, batch):
    model = MaskRCNN(tiny_config, dtype="mixed_bfloat16")
    assert model.backbone.compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    terms = model.compute_losses(*tf.nest.map_structure(tf.constant, batch))
    assert {value.dtype for value in terms.values()} == {tf.float32}
    found = model.predict(batch[0], verbose=0)
    assert found["boxes"].dtype == found["masks"].dtype == np.float32
    again = MaskRCNN.from_config(model.get_config())
    assert again.mask_head.compute_dtype == "bfloat16"


def test_from_preset_takes_config_fields_and_a_dtype_policy():
    model = MaskRCNN.from_preset(
        "mask_rcnn_resnet18_fpn_small", num_classes=2, norm="group", dtype="mixed_bfloat16"
    )
    assert model.config.num_classes == 2
    assert model.config.norm == "group"
    assert model.backbone.compute_dtype == "bfloat16"


@pytest.mark.parametrize(
    ("preset", "counts"),
    [
        # torchvision's maskrcnn_resnet50_fpn, without the deltas (4 x 1025) and the mask (257) of
        # background, which it never uses.
        (
            "mask_rcnn_resnet50_fpn_torchvision",
            {
                "backbone": 23_508_032,
                "fpn": 3_344_384,
                "rpn_head": 593_935,
                "box_head": 13_895_680 + 466_375 - 4 * 1025,
                "mask_head": 2_360_320 + 285_787 - 257,
            },
        ),
        (
            "mask_rcnn_resnet50_fpn_torchvision_v2",
            {
                "backbone": 23_508_032,
                "fpn": 3_346_432,
                "rpn_head": 1_184_015,
                "box_head": 15_207_424 + 466_375 - 4 * 1025,
                "mask_head": 2_361_344 + 285_787 - 257,
            },
        ),
        # detectron2's R50-C4, from the shapes of its layers. RPN: 1024 channels, 15 anchors per
        # cell. Box head: 81 classes and 80 x 4 deltas from 2048 channels. Mask head: deconvolution
        # of 2048 x 256 x 4.
        (
            "mask_rcnn_resnet50_c4_detectron2",
            {
                "backbone": 9_536 + 215_808 + 1_219_584 + 7_098_368,
                "res5": 14_964_736,
                "rpn_head": 1024 * 1024 * 9 + 1024 + 1025 * 15 * 5,
                "box_head": 2049 * (81 + 320),
                "mask_head": 2048 * 256 * 4 + 256 + 257 * 80,
            },
        ),
        (
            "faster_rcnn_resnext101_32x8d_fpn_detectron2",
            {
                "backbone": 86_742_336,
                "fpn": 3_344_384,
                "rpn_head": 593_935,
                "box_head": 13_895_680 + 1025 * (81 + 320),
            },
        ),
    ],
)
def test_each_network_has_as_many_parameters_as_the_peers(preset, counts):
    model = MaskRCNN.from_preset(preset)
    found = {
        name: sum(int(np.prod(v.shape)) for v in network.weights if "moving" not in v.path)
        for name, network in model.networks.items()
    }
    assert found == counts


@pytest.mark.usefixtures("eager")
def test_faster_rcnn_has_no_masks_and_else_the_same_path(tiny_config, batch, tmp_path):
    config = dataclasses.replace(tiny_config, task="boxes", score_threshold=0.0)
    model = MaskRCNN(config)
    model.compile(optimizer=mrcnn.training.sgd(0.01, warmup_steps=0))
    history = model.fit(dataset(batch, 2), verbose=0).history
    assert set(history) == {"loss", *LOSSES, *SHARES} - {"mask"}
    found = model.predict(batch[0], verbose=0)
    assert set(found) == {"boxes", "scores", "labels", "num_detections"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(found, loaded.predict(batch[0], verbose=0))
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(tmp_path / "served").signatures["serving_default"]
    image = np.zeros((1, 64, 96, 3), np.uint8)
    assert set(served(images=image)) == set(found)
    alone = mrcnn.predict_image(model, image[0])
    assert "masks" not in alone
    assert mrcnn.visualize.draw(image[0], alone).ndim == 3


def test_faster_rcnn_has_the_weights_of_mask_rcnn_without_the_mask_head(tiny_config):
    with_masks, boxes = (
        {v.path for network in (m.backbone, m.fpn, m.rpn_head, m.box_head) for v in network.weights}
        for m in (MaskRCNN(tiny_config), MaskRCNN(dataclasses.replace(tiny_config, task="boxes")))
    )
    assert with_masks == boxes
    small = mrcnn.MaskRCNN.from_preset("faster_rcnn_resnet18_fpn_small", num_classes=2)
    assert small.mask_head is None and small.config.box_head_units == 512


def test_networks_are_copied_where_both_have_them(tiny_config):
    rpn = MaskRCNN(dataclasses.replace(tiny_config, task="proposals"))
    fast = MaskRCNN(dataclasses.replace(tiny_config, proposals="precomputed"))
    joint = MaskRCNN(tiny_config)
    assert joint.copy_networks(fast) == ("backbone", "fpn", "box_head", "mask_head")
    assert joint.copy_networks(rpn) == ("backbone", "fpn", "rpn_head")
    for network, source in (("rpn_head", rpn), ("backbone", rpn), ("mask_head", fast)):
        pairs = zip(
            joint.networks[network].get_weights(),
            source.networks[network].get_weights(),
            strict=True,
        )
        assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)


def test_networks_of_another_shape_are_refused_and_nothing_is_copied(tiny_config):
    joint, wider = MaskRCNN(tiny_config), MaskRCNN(dataclasses.replace(tiny_config, num_classes=5))
    before = joint.get_weights()
    with pytest.raises(ValueError, match="the box_head of the two models differ"):
        joint.copy_networks(wider)
    assert all(np.array_equal(a, b) for a, b in zip(before, joint.get_weights(), strict=True))


@pytest.mark.usefixtures("eager")
def test_a_frozen_network_does_not_train(tiny_config, batch):
    model = MaskRCNN(tiny_config)
    model.backbone.trainable = False
    before = model.backbone.get_weights()
    model.compile(optimizer=mrcnn.training.sgd(0.01, warmup_steps=0))
    model.fit(dataset(batch, 2), verbose=0)
    for old, new in zip(before, model.backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_of_masks_refuses_targets_without_masks(tiny_config):
    model = types.SimpleNamespace(config=tiny_config)
    with pytest.raises(ValueError, match=r"masks=False is for .* Received: targets=\['boxes'\]"):
        MaskRCNN.compute_losses(model, {}, {"boxes": np.zeros([1, 1, 4])})


def test_channels_first_is_refused(tiny_config):
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="must be 'channels_last'.* Received: 'channels_first"):
            MaskRCNN(tiny_config)
    finally:
        keras.config.set_image_data_format("channels_last")
