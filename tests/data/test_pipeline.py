"""data/pipeline.py: the batch contract, the laws of flip and resize, repeatable randomness."""

import gc
import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from PIL import Image

from keras_maskrcnn import data
from keras_maskrcnn.data import (
    ProposalWriter,
    batches,
    coco_json,
    pipeline,
    read_proposals,
)
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import images as image_ops

NUCLEI = Path(__file__).resolve().parents[3] / "shared/data/nuclei"
SIZES = [(20, 30), (40, 24), (16, 16), (18, 36), (32, 32)]


@pytest.fixture
def dataset(tmp_path):
    """Five images of different sizes; image i has i instances, triangles at different places."""
    images, annotations = [], []
    for i, (height, width) in enumerate(SIZES):
        noise = np.random.default_rng(i).integers(0, 256, [height, width, 3])
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{i}.png")
        entry = {"id": 100 + i, "file_name": f"{i}.png", "height": height, "width": width}
        images.append(entry)
        for k in range(i):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 100 + i,
                    "category_id": (7, 12, 31)[k % 3],
                    "bbox": [1 + k, 2, 8, 9],
                    "segmentation": [[1 + k, 2, 9 + k, 2, 9 + k, 11]],
                }
            )
    categories = [{"id": i, "name": str(i)} for i in (7, 12, 31)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return coco_json(tmp_path, tmp_path / "a.json", mask_size=14)


def small(dataset, batch_size=2, **options):
    return batches(dataset, batch_size, **{"min_side": 24, "max_side": 40, **options})


def numpy(batched):
    return list(batched.as_numpy_iterator())


def assert_equal(left, right):
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def test_a_training_batch_has_static_counts_and_the_agreed_dtypes(dataset):
    inputs, targets = small(dataset, training=True, max_instances=4).element_spec
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()}
    assert shapes == {
        "images": ([2, None, None, 3], tf.float32),
        "sizes": ([2, 2], tf.int32),
        "original_sizes": ([2, 2], tf.int32),
        "indices": ([2], tf.int32),
    }
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in targets.items()}
    assert shapes == {
        "boxes": ([2, 4, 4], tf.float32),
        "labels": ([2, 4], tf.int32),
        "masks": ([2, 4, 14, 14], tf.uint8),
    }


def test_slots_are_those_that_the_fullest_image_needs_rounded_up(dataset):
    many = tf.zeros([1, 9, 4])
    for name, values in pipeline._pad_slots({"boxes": many, "labels": many[..., 0]}).items():
        assert values.shape[:2] == (1, 16), name
    batched = small(dataset, training=True)
    assert batched.element_spec[1]["boxes"].shape.as_list() == [2, None, 4]
    assert {y["labels"].shape for _, y in numpy(batched)} == {(2, 8)}


def test_evaluation_keeps_order_and_the_last_short_batch(dataset):
    batched = small(dataset, training=False)
    assert batched.element_spec[0]["images"].shape[0] is None
    sizes = np.concatenate([x["original_sizes"] for x, _ in numpy(batched)])
    np.testing.assert_array_equal(sizes, SIZES)
    assert int(batched.cardinality()) == 3


def test_images_are_resized_then_padded_with_zeros(dataset):
    ((inputs, _), *_) = numpy(small(dataset, training=False))
    np.testing.assert_array_equal(inputs["sizes"], [[24, 36], [40, 24]])
    assert inputs["images"].shape == (2, 64, 64, 3)
    for i in range(2):
        height, width = inputs["sizes"][i]
        expected = image_ops.resize(dataset.load_image(i), 24, 40)
        np.testing.assert_array_equal(inputs["images"][i, :height, :width], expected)
        assert not inputs["images"][i, height:].any() and not inputs["images"][i, :, width:].any()


def test_boxes_follow_each_axis_and_masks_stay(dataset):
    batched = small(dataset, 1, training=False, min_side=25, max_side=45)
    inputs, targets = numpy(batched)[3]  # 18 x 36 -> 23 x 45 (22.5 rounds up)
    np.testing.assert_array_equal(inputs["sizes"], [[23, 45]])
    example = dataset.load(3)
    scale = np.array([45 / 36, 23 / 18, 45 / 36, 23 / 18])
    np.testing.assert_allclose(targets["boxes"][0, :3], example["boxes"] * scale, rtol=1e-6)
    np.testing.assert_array_equal(targets["masks"][0, :3], example["masks"])


def test_empty_slots_have_label_zero_and_zeros_elsewhere(dataset):
    for i, (_, targets) in enumerate(numpy(small(dataset, 1, training=False))):
        assert (targets["labels"][0, :i] > 0).all()
        for values in targets.values():
            assert not values[0, i:].any()


def test_labels_stand_for_non_contiguous_category_ids(dataset):
    _, targets = numpy(small(dataset, 1, training=False))[4]
    assert [dataset.category_ids[i - 1] for i in targets["labels"][0, :4]] == [7, 12, 31, 7]


def test_a_batch_is_its_images_one_by_one(dataset):
    together, _ = numpy(small(dataset, 4, training=False))
    alone = numpy(small(dataset, 1, training=False))[:4]
    for name, values in together[1].items():
        np.testing.assert_array_equal(values, np.concatenate([y[name] for _, y in alone]))
    for i, (inputs, _) in enumerate(alone):
        height, width = inputs["sizes"][0]
        image = together[0]["images"][i, :height, :width]
        np.testing.assert_array_equal(image, inputs["images"][0, :height, :width])


def test_canvases_fix_the_size_of_a_batch(dataset):
    canvases = [(64, 64), (48, 40)]
    batched = small(dataset, training=False, canvases=canvases)
    sizes = [x["images"].shape[1:3] for x, _ in numpy(batched)]
    # The images are 24 x 36, 40 x 24, 24 x 24, 20 x 40 and 24 x 24 when resized.
    assert sizes == [(48, 40)] * 3
    inputs, _ = small(dataset, training=True, canvases=[(64, 48)]).element_spec
    assert inputs["images"].shape.as_list() == [2, 64, 48, 3]


def test_an_image_too_large_for_every_canvas_is_named(dataset):
    with pytest.raises(DataError, match=r"1\.png: resized to \[40, 24\].*canvases=\[\[32, 40\]\]"):
        small(dataset, training=True, canvases=[(32, 40)])
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, canvases=[(32, 40)]))
    assert pipeline.data_error(caught.value).startswith(
        "the images of a batch: resized to [40, 36]"
    )


def test_images_of_like_shape_share_a_batch(dataset):
    for _ in range(3):
        shapes = [x["images"].shape for x, _ in numpy(small(dataset, training=True))]
        # 20 x 30 and 18 x 36 lie; 16 x 16 and 32 x 32 are square.
        assert len(shapes) == 2
    orders = [x["original_sizes"].tolist() for x, _ in numpy(small(dataset, training=True))]
    assert all([16, 16] not in o or [32, 32] in o for o in orders)


def test_a_run_goes_on_where_another_stopped(dataset):
    options = {"training": True, "repeat": True, "seed": 2}
    whole = numpy(small(dataset, **options).take(7))
    rest = numpy(small(dataset, **options, first_step=3).take(4))
    assert_equal(rest, whole[3:])


def test_one_of_several_sides_is_drawn_for_each_image(dataset):
    batched = small(dataset, 1, training=True, repeat=True, min_side=(16, 24)).take(40)
    assert {min(x["sizes"][0]) for x, _ in numpy(batched)} == {16, 20, 24}  # 20 x 40: max_side


def test_augmentations_come_before_the_resize_and_have_seeds_of_their_own(dataset):
    seen = []

    def double(example, seed):
        tf.numpy_function(lambda s: seen.append(tuple(s)), [seed], [])
        image = tf.repeat(example["image"], 2, axis=1)
        return {**example, "image": image, "boxes": example["boxes"] * [2.0, 1, 2, 1]}

    options = {"flip": False, "shuffle": False, "repeat": True, "min_side": 20, "max_side": 99}
    batched = small(dataset, 1, training=True, augment=[double, double], **options)
    inputs, targets = numpy(batched.take(2))[1]
    assert inputs["original_sizes"].tolist() == [[40, 96]]
    np.testing.assert_allclose(
        targets["boxes"][0, 0], dataset.load(1)["boxes"][0] * [2, 0.5, 2, 0.5]
    )
    assert len(set(seen)) == len(seen) >= 4


def test_cached_images_are_read_once(dataset, monkeypatch):
    loaded, load = [], type(dataset).load
    monkeypatch.setattr(type(dataset), "load", lambda self, i: loaded.append(i) or load(self, i))
    batched = small(dataset, training=True, repeat=True, seed=1)
    cached = small(dataset, training=True, repeat=True, seed=1, cache=True)
    assert_equal(numpy(cached.take(10)), numpy(batched.take(10)))
    loaded.clear()
    numpy(cached.take(10))
    assert not loaded


def test_nothing_of_a_data_set_stays_behind_its_batches(dataset):
    """The function that decodes has all images with `cache`."""

    class Copy:
        def __getattr__(self, name):
            return getattr(dataset, name)

        def __len__(self):
            return len(dataset)

    copy = Copy()
    alive = weakref.ref(copy)
    numpy(small(copy, training=True, repeat=True, cache=True, canvases=[(64, 64)]).take(3))
    numpy(small(copy, training=True))
    copy = None
    gc.collect()
    assert alive() is None


def test_an_unreadable_image_is_replaced_counted_and_named(dataset, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda *parts: logged.append(parts[0] % parts[1:]))
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:100])
    options = {"training": True, "shuffle": False, "flip": False}
    found = numpy(small(dataset, 1, on_error="skip", **options))
    np.testing.assert_array_equal(found[3][0]["images"], found[4][0]["images"])
    assert dataset.skipped == {"3.png": 1}
    assert len(logged) == 1 and logged[0].startswith("skipped, image 1 of such: ")
    assert f"{tmp_path / '3.png'}: image cannot be decoded" in logged[0]
    numpy(small(dataset, 1, on_error="skip", **options))
    assert dataset.skipped == {"3.png": 2} and len(logged) == 1


def test_a_set_of_unreadable_images_is_an_error(dataset, tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.png").write_text("no image")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=True, on_error="skip"))
    assert "none of 5 images can be read" in pipeline.data_error(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error='ignore'"),
        ({"on_error": "skip", "targets": False}, "on_error='skip' needs training=True or targets"),
        ({"augment": [print]}, "augment needs training=True"),
        ({"min_side": (1, 2)}, r"min_side needs training=True. Received: min_side=\(1, 2\)"),
        ({"training": True, "first_step": 3}, "first_step needs repeat=True"),
        ({"seed": -1}, "seed must be at least 0. Received: seed=-1"),
    ],
)
def test_options_that_do_not_fit_are_named(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        small(dataset, **{"training": False, **options})


def test_data_service_gives_the_same_batches(dataset):
    service = tf.data.experimental.service
    server = service.DispatchServer()
    worker = service.WorkerServer(
        service.WorkerConfig(dispatcher_address=server.target.split("://")[1])
    )
    batched = small(dataset, training=False)
    served = batched.apply(service.distribute("parallel_epochs", server.target))
    assert_equal(numpy(served), numpy(batched))
    del worker


def test_a_strategy_deals_out_the_images_of_a_batch(dataset, two_devices):
    batched = small(dataset, 4, training=True)
    expected, _ = numpy(small(dataset, 4, training=True))[0]
    dealt = next(iter(two_devices.experimental_distribute_dataset(batched)))
    inputs, targets = tf.nest.map_structure(two_devices.experimental_local_results, dealt)
    assert [part.shape[0] for part in targets["labels"]] == [2, 2]
    np.testing.assert_array_equal(np.concatenate(inputs["images"]), expected["images"])


def test_without_targets_only_images_are_read(dataset, monkeypatch):
    monkeypatch.setattr(type(dataset), "load", lambda *_: pytest.fail("annotations were read"))
    inputs = numpy(small(dataset, training=False, targets=False))
    assert [sorted(x) for x in inputs] == [["images", "original_sizes", "sizes"]] * 3


def test_training_flips_about_half_and_only_inside_the_valid_width(dataset):
    batched = small(dataset, 1, training=True, shuffle=False, repeat=True).take(100)
    straight = numpy(small(dataset, 1, training=False))
    flips = 0
    for step, (inputs, targets) in enumerate(numpy(batched)):
        expected, expected_targets = straight[step % 5]
        height, width = expected["sizes"][0]
        image, original = (x["images"][0, :height, :width] for x in (inputs, expected))
        flipped = not np.array_equal(image, original)
        flips += flipped
        np.testing.assert_array_equal(image, original[:, ::-1] if flipped else original)
        boxes, count = expected_targets["boxes"][0].copy(), step % 5
        if flipped:
            boxes[:count, [0, 2]] = width - boxes[:count, [2, 0]]
        np.testing.assert_allclose(targets["boxes"][0], boxes, rtol=1e-6)
        np.testing.assert_array_equal(targets["boxes"][0, count:], 0)
    assert 30 < flips < 70


def test_epochs_differ_but_runs_repeat(dataset):
    runs = []
    for _ in range(2):
        batched = small(dataset, 1, training=True, seed=3)
        runs.append([numpy(batched) for _ in range(3)])
    assert_equal(runs[0], runs[1])
    order = [tuple(map(tuple, (x["original_sizes"][0] for x, _ in e))) for e in runs[0]]
    assert len(set(order)) > 1
    assert all(sorted(epoch) == sorted(SIZES) for epoch in order)
    other = numpy(small(dataset, 1, training=True, seed=4))
    assert order[0] != tuple(tuple(x["original_sizes"][0]) for x, _ in other)


def test_flips_differ_between_epochs(dataset):
    batched = small(dataset, 5, training=True, shuffle=False)
    epochs = [numpy(batched)[0][0]["images"] for _ in range(6)]
    assert any(not np.array_equal(epochs[0], images) for images in epochs[1:])


def test_finite_data_knows_its_length_and_repeated_data_is_infinite(dataset):
    assert int(small(dataset, 2, training=True).cardinality()) == 2
    assert len(numpy(small(dataset, 2, training=True))) == 2
    repeated = small(dataset, 2, training=True, repeat=True)
    assert repeated.cardinality() == tf.data.INFINITE_CARDINALITY
    assert len(numpy(repeated.take(7))) == 7


def test_fewer_slots_than_instances_are_filled_and_reported(dataset, monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda *parts: logged.append(parts[0] % parts[1:]))
    _, targets = numpy(small(dataset, 1, training=False, max_instances=2))[4]
    assert logged == ["max_instances=2 leaves out 3 instances of 2 images in each epoch."]
    whole = dataset.load(4)
    assert targets["labels"].shape == (1, 2)
    np.testing.assert_array_equal(targets["labels"][0], whole["labels"][:2])
    np.testing.assert_array_equal(targets["masks"][0], whole["masks"][:2])


def test_in_training_the_kept_instances_are_random(dataset):
    batched = small(dataset, 5, training=True, flip=False, shuffle=False, max_instances=1)
    lefts = {numpy(batched)[0][1]["boxes"][4, 0, 0].item() for _ in range(12)}
    assert len(lefts) > 1


def test_a_batch_that_cannot_be_filled_is_refused(dataset):
    with pytest.raises(DataError, match="5 images do not fill one batch.*batch_size=6"):
        small(dataset, 6, training=True)
    assert len(numpy(small(dataset, 6, training=True, repeat=True).take(1))) == 1


@pytest.mark.parametrize(
    "name", ["batch_size", "min_side", "max_side", "max_instances", "max_proposals"]
)
def test_counts_below_one_are_refused(dataset, name):
    options = {"batch_size": 1, "training": False, name: 0}
    with pytest.raises(ValueError, match=f"Received: {name}=0"):
        batches(dataset, **options)


@pytest.mark.parametrize("targets", [True, False])
def test_data_error_finds_our_line_in_a_tensorflow_error(dataset, tmp_path, targets):
    (tmp_path / "0.png").write_text("no image")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, targets=targets))
    line = pipeline.data_error(caught.value)
    assert line.startswith(f"{tmp_path / '0.png'}: not an image")
    assert line.endswith(".") and "\n" not in line


def test_data_error_passes_ours_and_nothing_else():
    assert pipeline.data_error(DataError("a: b.")) == "a: b."
    assert pipeline.data_error(ValueError("DataError: a")) is None
    assert pipeline.data_error(tf.errors.InvalidArgumentError(None, None, "other")) is None


def some_proposals(dataset):
    """For image i: 3 + i boxes by falling score, one of them without area inside the image."""
    found = {}
    for i, image_id in enumerate(dataset.image_ids):
        height, width = dataset.sizes[i]
        corners = np.random.default_rng(i).uniform([0, 0], [width, height], [2 + i, 2, 2])
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        boxes = np.concatenate([[[width, 0, width + 9, 5]], boxes]).astype(np.float32)
        found[image_id] = boxes, np.linspace(1, 0, len(boxes))
    return found


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("targets", [True, False])
def test_proposals_have_a_static_count_and_no_effect_on_the_rest(dataset, training, targets):
    options = {"training": training, "targets": targets}
    batched = small(dataset, **options, proposals=some_proposals(dataset), max_proposals=7)
    spec = (batched.element_spec[0] if targets else batched.element_spec)["proposals"]
    assert spec.shape.as_list() == [2 if training else None, 7, 4] and spec.dtype == tf.float32
    for found, expected in zip(numpy(batched), numpy(small(dataset, **options)), strict=True):
        del (found[0] if targets else found)["proposals"]
        assert_equal(found, expected)


def test_proposals_are_scaled_as_boxes_are(dataset):
    class Boxes:  # the annotated boxes as proposals
        get = staticmethod(lambda i: (dataset.load(i - 100)["boxes"], np.zeros(i - 100)))
        __contains__ = dataset.image_ids.__contains__

    options = {"min_side": 25, "max_side": 45, "proposals": Boxes(), "max_proposals": 8}
    for inputs, targets in numpy(small(dataset, 2, training=True, **options)):
        np.testing.assert_allclose(inputs["proposals"], targets["boxes"], rtol=1e-6)


def test_the_best_proposals_are_taken_in_order_and_the_rest_is_zero(dataset):
    proposals = some_proposals(dataset)
    options = {"training": False, "min_side": 16, "max_side": 64, "max_proposals": 4}
    inputs, _ = numpy(small(dataset, 1, proposals=proposals, **options))[2]  # 16 x 16: not resized
    boxes, _ = proposals[102]
    np.testing.assert_array_equal(inputs["proposals"][0], boxes[1:5])  # the first has no area
    inputs, _ = numpy(small(dataset, 1, proposals=proposals, **options))[0]
    assert inputs["proposals"][0, :2].any(axis=1).all()
    np.testing.assert_array_equal(inputs["proposals"][0, 2:], 0)


def test_proposals_are_clipped_to_the_image(dataset):
    outside = {i: (np.array([[-5.0, -6, 1e6, 1e6]]), np.zeros(1)) for i in dataset.image_ids}
    for training in (True, False):
        batched = small(dataset, 1, training=training, proposals=outside)
        for inputs, _ in numpy(batched):
            height, width = inputs["sizes"][0]
            np.testing.assert_array_equal(inputs["proposals"][0, 0], [0, 0, width, height])


def test_proposals_are_flipped_with_their_image(dataset):
    options = {"proposals": some_proposals(dataset), "max_proposals": 3, "targets": False}
    straight = numpy(small(dataset, 1, training=False, **options))
    batched = small(dataset, 1, training=True, shuffle=False, repeat=True, **options).take(20)
    for step, inputs in enumerate(numpy(batched)):
        expected = straight[step % 5]
        boxes, width = expected["proposals"].copy(), expected["sizes"][0, 1]
        if not np.array_equal(inputs["images"], expected["images"]):
            filled = boxes.any(axis=-1)
            boxes[filled] = boxes[filled][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
        np.testing.assert_allclose(inputs["proposals"], boxes, rtol=1e-6)


def test_an_image_without_an_entry_is_named_before_the_first_batch(dataset):
    proposals = some_proposals(dataset)
    del proposals[103]
    with pytest.raises(DataError, match=r"no proposals of 1 images\. Received: image_id=103"):
        small(dataset, training=True, proposals=proposals)


def test_a_broken_shard_is_named_in_the_pipelines_error(dataset, tmp_path):
    with ProposalWriter(tmp_path / "p", dataset.image_ids) as writer:
        for image_id, found in some_proposals(dataset).items():
            writer.add(image_id, *found)
    proposals = read_proposals(tmp_path / "p")
    (tmp_path / "p" / "proposals-00000-of-00001.npz").write_bytes(b"PK")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, proposals=proposals))
    assert "proposals-00000-of-00001.npz: shard" in pipeline.data_error(caught.value)


@pytest.mark.skipif(not NUCLEI.exists(), reason=f"no nuclei data at {NUCLEI}")
def test_real_nuclei_fill_batches():
    dataset = coco_json(NUCLEI / "val/images", NUCLEI / "annotations/val.json", mask_size=28)
    assert (len(dataset), len(dataset.labels)) == (60, 3475)
    assert dataset.category_ids == (7, 12, 31) and dataset.dropped == {}
    assert dataset.max_instances == 369
    batched = batches(dataset, 4, training=False, min_side=128, max_side=256)
    for start, (inputs, targets) in enumerate(batched.take(3).as_numpy_iterator()):
        counts = dataset.num_instances[start * 4 : start * 4 + 4]
        np.testing.assert_array_equal((targets["labels"] > 0).sum(axis=1), counts)
        valid = targets["labels"] > 0
        assert targets["masks"][valid].max(axis=(1, 2)).min() > 127
        limits = inputs["sizes"][:, None, [1, 0, 1, 0]]
        assert (targets["boxes"] <= limits + 1e-3).all() and (targets["boxes"] >= 0).all()


def test_a_data_set_without_masks_gives_boxes_alone(dataset):
    plain = coco_json(dataset.images, dataset.annotations, mask_size=14, masks=False)
    options = dict(training=True, max_instances=4, shuffle=False, flip=False)
    (_, boxes), (_, both) = (next(iter(small(d, **options))) for d in (plain, dataset))
    assert set(boxes) == {"boxes", "labels"}
    for name in boxes:
        np.testing.assert_array_equal(boxes[name], both[name])
    with pytest.raises(ValueError, match="copy_paste needs masks"):
        small(plain, training=True, copy_paste=data.augment.copy_paste)


def test_a_data_set_without_an_instance_is_refused(dataset):
    crowds = {**json.loads(Path(dataset.annotations).read_text())}
    crowds["annotations"] = [{**a, "iscrowd": 1} for a in crowds["annotations"]]
    empty = data.coco_dict(dataset.images, crowds)
    for training in (True, False):
        with pytest.raises(DataError, match="no instance is left to learn from.*--crowds=objects"):
            small(empty, training=training)
    small(empty, training=False, targets=False)  # prediction needs none
