"""data/pipeline.py: order, epochs, errors, and repeatable runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from five_images import SIZES, assert_equal, numpy, small, some_proposals
from resizing import resizing

from keras_maskrcnn import data
from keras_maskrcnn.data import batches, coco_json
from keras_maskrcnn.data.errors import DataError

NUCLEI = Path(__file__).resolve().parents[3] / "shared/data/nuclei"


def test_evaluation_keeps_order_and_the_last_short_batch(dataset):
    batched = small(dataset, training=False)
    assert batched.element_spec[0]["images"].shape[0] is None
    sizes = np.concatenate([x["original_sizes"] for x, _ in numpy(batched)])
    np.testing.assert_array_equal(sizes, SIZES)
    assert int(batched.cardinality()) == 3


def test_images_of_like_shape_share_a_batch(dataset):
    for _ in range(3):
        shapes = [x["images"].shape for x, _ in numpy(small(dataset, training=True))]
        # 20 x 30 and 18 x 36 are wide; 16 x 16 and 32 x 32 are square.
        assert len(shapes) == 2
    orders = [x["original_sizes"].tolist() for x, _ in numpy(small(dataset, training=True))]
    assert all([16, 16] not in o or [32, 32] in o for o in orders)


def test_a_run_goes_on_where_another_stopped(dataset):
    options = {"training": True, "repeat": True, "seed": 2}
    whole = numpy(small(dataset, **options).take(7))
    rest = numpy(small(dataset, **options, first_step=3).take(4))
    assert_equal(rest, whole[3:])


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


def test_a_batch_that_cannot_be_filled_is_refused(dataset):
    with pytest.raises(DataError, match="5 images do not fill one batch.*batch_size=6"):
        small(dataset, 6, training=True)
    assert len(numpy(small(dataset, 6, training=True, repeat=True).take(1))) == 1


@pytest.mark.parametrize("name", resizing(24, 40))
def test_forgetting_how_the_model_resizes_is_an_error_that_says_what_to_pass(dataset, name):
    options = resizing(24, 40)
    del options[name]
    line = rf"pass \*\*model\.config\.resizing\(\)\. Received: {name}=None\.$"
    with pytest.raises(TypeError, match=line):
        batches(dataset, 2, training=True, **options)


def test_forgetting_all_of_it_is_one_error(dataset):
    with pytest.raises(TypeError, match="Received: min_side=None, .*, padding_multiple=None"):
        batches(dataset, 2, training=True)


def test_proposals_without_their_number_are_an_error_that_says_what_to_pass(dataset):
    line = r"pass max_proposals=model\.config\.train_proposals.* Received: max_proposals=None\.$"
    with pytest.raises(TypeError, match=line):
        small(dataset, training=True, proposals=some_proposals(dataset))


@pytest.mark.parametrize(
    "name", ["batch_size", "min_side", "max_side", "max_instances", "max_proposals"]
)
def test_counts_below_one_are_refused(dataset, name):
    options = {"batch_size": 1, "training": False, **resizing(24, 40), name: 0}
    with pytest.raises(ValueError, match=f"Received: {name}=0"):
        batches(dataset, **options)


def test_an_image_without_an_entry_is_named_before_the_first_batch(dataset):
    proposals = some_proposals(dataset)
    del proposals[103]
    with pytest.raises(DataError, match=r"no proposals for 1 images\. Received: image_id=103"):
        small(dataset, training=True, proposals=proposals, max_proposals=9)


@pytest.mark.skipif(not NUCLEI.exists(), reason=f"no nuclei data at {NUCLEI}")
def test_real_nuclei_fill_batches():
    dataset = coco_json(NUCLEI / "val/images", NUCLEI / "annotations/val.json", mask_size=28)
    assert (len(dataset), len(dataset.labels)) == (60, 3475)
    assert dataset.category_ids == (7, 12, 31) and dataset.dropped == {}
    assert dataset.max_instances == 369
    batched = batches(dataset, 4, training=False, **resizing(128, 256))
    for start, (inputs, targets) in enumerate(batched.take(3).as_numpy_iterator()):
        counts = dataset.num_instances[start * 4 : start * 4 + 4]
        np.testing.assert_array_equal((targets["labels"] > 0).sum(axis=1), counts)
        valid = targets["labels"] > 0
        assert targets["masks"][valid].max(axis=(1, 2)).min() > 127
        limits = inputs["sizes"][:, None, [1, 0, 1, 0]]
        assert (targets["boxes"] <= limits + 1e-3).all() and (targets["boxes"] >= 0).all()


def test_a_data_set_without_an_instance_is_refused(dataset):
    crowds = {**json.loads(Path(dataset.annotations).read_text())}
    crowds["annotations"] = [{**a, "iscrowd": 1} for a in crowds["annotations"]]
    empty = data.coco_dict(dataset.images, crowds)
    for training in (True, False):
        with pytest.raises(DataError, match="no instance is left to learn from.*--crowds=objects"):
            small(empty, training=training)
    small(empty, training=False, targets=False)  # prediction needs none


@pytest.mark.parametrize("dataset", ["val.json", [1, 2], tf.data.Dataset.range(3)], ids=type)
def test_what_is_no_data_set_is_named(dataset):
    with pytest.raises(TypeError, match="dataset must be a data set.* Received: dataset="):
        batches(dataset, 2, training=True, **resizing(24, 40))


@pytest.mark.parametrize("augment", ["rotate90", ["rotate90"]])
def test_augmentations_are_functions(dataset, augment):
    with pytest.raises(TypeError, match="sequence of functions.* Received: augment=.*rotate90"):
        batches(dataset, 2, training=True, augment=augment, **resizing(24, 40))
