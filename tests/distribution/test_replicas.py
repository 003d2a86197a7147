"""Several replicas give the results of one replica with the whole batch."""

import contextlib
import dataclasses
import json
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from eager import eager_steps
from PIL import Image

from keras_maskrcnn import checks, data, training
from keras_maskrcnn.calls import WholeEpochs
from keras_maskrcnn.distribution import replicas
from keras_maskrcnn.evaluation import predict_dataset
from keras_maskrcnn.model import MaskRCNN

C4 = dict(neck="c4", mask_pool_size=7, box_head_layers=0, mask_head_convs=0)


def four_images(batch):
    """Returns the two images of `batch`, each followed by a brighter copy.

    The first half then has more objects than the second.
    """
    inputs, gt = batch
    brighter = {**inputs, "images": np.minimum(inputs["images"] + 20, 255)}
    return tuple(
        {
            name: np.stack([first[name], second[name]], 1).reshape(4, *first[name].shape[1:])
            for name in first
        }
        for first, second in ((inputs, brighter), (gt, gt))
    )


def train(config, scope, batches, optimizer, run_eagerly=False):
    """Returns the model and the history of a run from the same initial weights."""
    with scope:
        keras.utils.set_random_seed(0)
        model = MaskRCNN(config)
        model.compile(optimizer=optimizer(), run_eagerly=run_eagerly)
    history = model.fit(batches, verbose=0, shuffle=False).history
    return model, history


# With batch norm, rounding changes the order of proposals with nearly equal scores, and sampling
# depends on that order. Therefore these configs sample every RoI; anchors are drawn.
EVERY_ROI = dict(norm="batch", roi_batch=60, roi_positive_fraction=1.0)
SAMPLED = dict(rpn_loss_divisor="sampled", roi_loss_divisor="sampled")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(SAMPLED, id="fpn frozen"),
        pytest.param(dict(EVERY_ROI, head_norm="batch"), id="fpn synchronized"),
        pytest.param(dict(C4, **SAMPLED), id="c4 frozen"),
        pytest.param(dict(C4, **EVERY_ROI), id="c4 synchronized"),
    ],
)
@pytest.mark.slow
def test_three_steps_on_two_devices_are_those_of_one(tiny_config, batch, two_devices, fields):
    assert_same_steps(tiny_config, batch, two_devices, fields, steps=3, run_eagerly=False)


def test_a_step_on_two_devices_is_that_of_one(tiny_config, batch, two_devices):
    # To trace a step on each device takes 60 s. test_steps.py traces one of a simple loss on two.
    fields = dict(EVERY_ROI, head_norm="batch")
    assert_same_steps(tiny_config, batch, two_devices, fields, steps=1, run_eagerly=True)


def assert_same_steps(config, batch, two_devices, fields, *, steps, run_eagerly):
    """Trains on one and on two devices, and compares losses and weights."""
    config = dataclasses.replace(config, **{"norm": "frozen_batch", **fields})
    batches = tf.data.Dataset.from_tensors(four_images(batch)).unbatch().batch(4, True)
    batches = batches.repeat(steps)

    def optimizer():  # the rate is for four images; the norm is low enough to clip every step
        return training.sgd(0.02 * 4 / 16, warmup_steps=0, clip_norm=1.0)

    one, alone = train(config, contextlib.nullcontext(), batches, optimizer, run_eagerly=True)
    two, together = train(config, two_devices.scope(), batches, optimizer, run_eagerly)
    for name in alone:
        # Some values are near 0, as differences of numbers near 1.
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-4, atol=1e-8, err_msg=name)
    # The tolerance for moving statistics in training is rounding, which small batches amplify. On
    # one device, initial kernels that are one bit of float32 larger change a variance of C4 by
    # 0.9e-4 of itself. Variances reach hundreds, so the limit is relative in all cases.
    moving = 1e-4 if config.norm == "batch" else 1e-5
    for v, first, second in zip(one.weights, one.get_weights(), two.get_weights(), strict=True):
        limits = dict(atol=1e-5, rtol=0.0)
        if v.path.endswith(("moving_mean", "moving_variance")):
            limits = dict(atol=moving, rtol=moving)
        np.testing.assert_allclose(first, second, err_msg=v.path, **limits)


@pytest.mark.slow
def test_validation_losses_of_unequal_shares_are_those_of_one_device(
    tiny_config, batch, two_devices
):
    images = tf.data.Dataset.from_tensor_slices(four_images(batch))
    logs = []
    for scope in (eager_steps(), two_devices.scope()):
        with scope:
            keras.utils.set_random_seed(0)
            model = MaskRCNN(dataclasses.replace(tiny_config, **SAMPLED))
            model.compile(training.sgd())
            # The second batch has only one image for two replicas.
            logs.append(model.evaluate(images.batch(3), verbose=0, return_dict=True))
    assert logs[1] == pytest.approx(logs[0], rel=1e-4)


@pytest.mark.parametrize(
    ("workers", "here", "expected"),
    [
        (1, 2, [[[0, 1], [2]]]),
        (3, 1, [[[0]], [[1]], [[2]]]),
        (2, 2, [[[0, 1], [4]], [[2, 3], [5]]]),  # parts 0 and 2, 1 and 3
    ],
)
def test_each_row_of_a_batch_belongs_to_one_replica(monkeypatch, workers, here, expected):
    extended = types.SimpleNamespace(worker_devices=["CPU"] * here)
    strategy = types.SimpleNamespace(num_replicas_in_sync=workers * here, extended=extended)
    size = sum(len(rows) for rows in sum(expected, []))
    for index, own in enumerate(expected):
        monkeypatch.setattr(replicas, "worker", lambda _, i=index: (i, workers))
        assert [rows.tolist() for rows in replicas.rows_of_worker(strategy, size)] == own


def on_common_canvas(strategy, sizes, canvases):
    """Returns what the function makes of an image of ones of each of these sizes."""
    canvases = tf.reshape(tf.constant(canvases, tf.int32), [1, -1, 2])

    def images(context):
        size = np.array(sizes[context.replica_id_in_sync_group], np.int32)
        ones = tf.reshape(tf.ones([size[0] * size[1] * 3]), [1, *size, 3])
        return {"images": ones, "sizes": tf.constant(size[None]), "canvases": canvases}

    inputs = strategy.experimental_distribute_values_from_function(images)
    found = strategy.run(replicas.on_common_canvas, [inputs])
    assert found.keys() == {"images", "sizes"}
    return [value.numpy() for value in strategy.experimental_local_results(found["images"])]


def test_images_of_several_workers_get_the_canvas_of_the_whole_batch(two_devices):
    sizes = [(4, 9), (6, 5)]
    found = on_common_canvas(two_devices, sizes, [])
    for images, (height, width) in zip(found, sizes, strict=True):
        assert images.shape == (1, 6, 9, 3) and images[:, :height, :width].all()
        assert images.sum() == height * width * 3
    # Each fits on a smaller canvas than both of them.
    canvases = [[4, 12], [6, 8], [8, 10], [20, 20]]
    for images in on_common_canvas(two_devices, sizes, canvases):
        assert images.shape == (1, 8, 10, 3)
    line = r"must fit on a canvas. Received: size=\[6 9\]"
    with pytest.raises(ValueError, match=line), checks.plain_errors():
        on_common_canvas(two_devices, sizes, canvases[:2])


def test_batches_that_no_share_made_ask_no_other_replica(two_devices):
    # In `train_on_batch` a worker may have traced other sizes, or have an image of another size.
    inputs = {"images": tf.zeros([1, 4, 4, 3]), "sizes": tf.constant([[4, 4]])}
    found = two_devices.run(lambda: tf.constant(replicas.on_common_canvas(inputs) is inputs))
    assert all(two_devices.experimental_local_results(found))


def test_a_replica_without_an_image_cannot_train(two_devices):
    def check():
        inputs = {"images": tf.zeros([0, 4, 4, 3])}
        return replicas.not_empty(inputs, {}, training=True)[0]["images"]

    line = "^each replica needs an image of every batch that is trained on. Received: none.$"
    with pytest.raises(ValueError, match=line), checks.plain_errors():
        tf.function(lambda: two_devices.run(check))()


@pytest.mark.slow
def test_detections_of_images_of_all_sizes_are_those_of_one_device(
    tiny_config, tmp_path, two_devices
):
    sizes = [(64, 64), (60, 96), (64, 40), (90, 64), (64, 96)]
    content = {"annotations": [], "categories": [{"id": i, "name": str(i)} for i in (1, 2, 3)]}
    content["images"] = [
        {"id": i, "file_name": f"{i}.png", "height": height, "width": width}
        for i, (height, width) in enumerate(sizes)
    ]
    rng = np.random.default_rng(0)
    for image in content["images"]:
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / image["file_name"])
    (tmp_path / "images.json").write_text(json.dumps(content))
    dataset = data.coco_json(tmp_path, tmp_path / "images.json")
    found = []
    for scope in (eager_steps(), two_devices.scope()):
        with scope:
            keras.utils.set_random_seed(0)
            model = MaskRCNN(dataclasses.replace(tiny_config, norm="group"))
            # Padding matters only after a bias.
            biases = [v for v in model.trainable_variables if v.name in ("beta", "bias")]
            for bias in biases:
                bias.assign(np.full(bias.shape, 0.1))
            found.append(predict_dataset(model, dataset, batch_size=1, verbose=0))
    assert len(found[0]) > 20
    assert [(r["image_id"], r["category_id"]) for r in found[0]] == [
        (r["image_id"], r["category_id"]) for r in found[1]
    ]
    for name in ("bbox", "score"):
        one, two = (np.array([result[name] for result in results]) for results in found)
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_an_epoch_that_ends_early_is_an_error_on_several_replicas(two_devices):
    # The end of the data on one replica may hide an error of the other.
    callback = WholeEpochs()
    callback.set_params({"steps": 3})
    callback.set_model(types.SimpleNamespace(distribute_strategy=two_devices, stop_training=False))
    callback.on_epoch_begin(0)
    for batch in range(3):
        with pytest.raises(ValueError, match=f"in epoch 1 after {batch} of 3 batches"):
            callback.on_epoch_end(0)
        callback.on_train_batch_end(batch)
    callback.on_epoch_end(0)
    callback.set_params({"steps": None})  # a data set of unknown length
    callback.on_epoch_begin(1)
    callback.on_epoch_end(1)


@pytest.mark.slow
def test_wrong_pixels_of_one_replica_end_training_in_a_line(tiny_config, batch, two_devices):
    with two_devices.scope():
        model = MaskRCNN(tiny_config)
        model.compile("sgd")
    inputs, gt = batch
    images = inputs["images"] * np.float32([1, 1e9]).reshape(2, 1, 1, 1)
    spoiled = tf.data.Dataset.from_tensor_slices(({**inputs, "images": images}, gt)).batch(2, True)
    with pytest.raises(ValueError, match="in 0..255|after 0 of 1 batches"):
        model.fit(spoiled, verbose=0, shuffle=False)
