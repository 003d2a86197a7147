"""shares.py: Keras gets a worker's share, or whole batches and a warning."""

import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn import data, distribution, shares
from keras_maskrcnn.distribution import replicas

RESIZING = dict(min_side=16, max_side=32, resize_rule="torchvision", padding_multiple=8)


class Images:
    """Five gray images, whose brightness is their index."""

    file_names = tuple(f"{i}.png" for i in range(5))
    sizes, mask_size, max_instances, num_instances = ((16, 16),) * 5, 28, 1, np.ones(5, int)
    has_masks = False

    def __len__(self):
        return 5

    def load_image(self, index):
        return np.full([16, 16, 3], index, np.uint8)

    def load(self, index):
        box = np.array([[0, 0, 9, 9]], np.float32)
        return {
            "image": self.load_image(index),
            "boxes": box,
            "labels": np.ones(1, np.int32),
        }


@pytest.fixture
def two_workers(monkeypatch):
    """This process counts as one of two workers."""
    monkeypatch.setattr(distribution, "worker", lambda strategy: (0, 2))


def test_the_replicas_of_a_worker_get_their_parts(two_devices, two_workers):
    batches = data.batches(Images(), 3, training=False, **RESIZING)
    share = shares.for_keras(two_devices, batches.prefetch(2))
    steps = [two_devices.experimental_local_results(x["images"]) for x, _ in share]
    assert int(share.cardinality) == 2
    found = [[part[:, 0, 0, 0].numpy().tolist() for part in parts] for parts in steps]
    assert found == [[[0, 1], [2]], [[3, 4], [0]]]  # the last image is a blank one


def test_changed_batches_are_read_whole_and_a_line_says_so(two_devices, two_workers, caplog):
    batches = data.batches(Images(), 2, training=True, **RESIZING)
    changed = batches.map(lambda x, y: (x, y))
    assert shares.for_keras(two_devices, changed) is changed
    assert "each worker reads whole batches" in caplog.text
    arrays = np.zeros(3)
    assert shares.for_keras(two_devices, arrays) is arrays


def test_one_worker_reads_whole_batches(two_devices, caplog):
    batches = data.batches(Images(), 2, training=True, **RESIZING)
    assert shares.for_keras(two_devices, batches) is batches and not caplog.text


def test_a_batch_for_training_has_an_image_for_each_replica(two_devices, two_workers):
    batches = data.batches(Images(), 1, training=True, **RESIZING)
    with pytest.raises(ValueError, match="at least the number of replicas, 2. Received: batch_si"):
        shares.for_keras(two_devices, batches)
    batches = data.batches(Images(), 1, training=False, **RESIZING)
    inputs, _ = next(iter(shares.for_keras(two_devices, batches)))
    sizes = two_devices.experimental_local_results(inputs["sizes"])
    assert [size.numpy().tolist() for size in sizes] == [[[16, 16]], [[0, 0]]]


def test_steps_of_a_worker_say_which_images_they_hold(two_devices):
    batches = data.batches(Images(), 4, training=False, targets=False, **RESIZING)
    steps = list(shares.steps_of_worker(two_devices, batches))
    assert [indices.tolist() for _, indices in steps] == [[0, 1, 2, 3], [4]]
    assert [[len(part["sizes"]) for part in parts] for parts, _ in steps] == [[2, 2], [2, 2]]
    assert all("canvases" not in part for parts, _ in steps for part in parts)


def test_the_images_of_all_workers_are_those_of_the_data_set(monkeypatch):
    extended = types.SimpleNamespace(worker_devices=["CPU"])
    strategy = types.SimpleNamespace(num_replicas_in_sync=2, extended=extended)
    batches = data.batches(Images(), 4, training=False, targets=False, **RESIZING)
    seen = []
    for index in range(2):
        monkeypatch.setattr(replicas, "worker", lambda _, i=index: (i, 2))
        for (part,), indices in shares.steps_of_worker(strategy, batches):
            pixels = part["images"][: len(indices), 0, 0, 0].numpy()
            assert pixels.tolist() == indices.tolist()
            seen += indices.tolist()
    assert seen == [0, 1, 4, 2, 3]


def test_batches_of_a_service_are_refused(two_devices, two_workers):
    dispatcher = tf.data.experimental.service.DispatchServer()  # `distribute` waits for it
    served = tf.data.Dataset.range(2).apply(
        tf.data.experimental.service.distribute("parallel_epochs", dispatcher.target)
    )
    with pytest.raises(ValueError, match="must not come from a tf.data service.* Received: batch"):
        shares.for_keras(two_devices, served.prefetch(1))


@pytest.mark.parametrize("theirs", [[], [[1, True, "b.png: broken."]], [[1, False, "KeyError: 3"]]])
@pytest.mark.parametrize("ours", [None, data.DataError("a.png: broken."), KeyError(7)])
def test_one_worker_fails_as_the_others_do(monkeypatch, two_workers, ours, theirs):
    sent = []
    monkeypatch.setattr(
        distribution, "gather", lambda _, items: sent.extend(items) or [*items, *theirs]
    )
    known = {"b.png: broken.": data.DataError, "KeyError: 3": RuntimeError}
    expected = ours or (known[theirs[0][2]] if theirs else None)
    with contextlib.ExitStack() as stack:
        if expected:
            line = str(ours) if ours else theirs[0][2]
            stack.enter_context(pytest.raises(type(ours) if ours else expected, match=line))
        with shares.failing_together(None):
            if ours:
                raise ours
    lines = {data.DataError: [[0, True, "a.png: broken."]], KeyError: [[0, False, "KeyError: 7"]]}
    assert sent == lines.get(type(ours), [])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (data.DataError("a.png: broken."), "DataError: a.png: broken."),
        (KeyError("a"), "KeyError: 'a'"),
        (ValueError("first\nsecond"), "ValueError: first"),
    ],
)
def test_a_worker_that_fails_ends_the_steps_of_the_others(monkeypatch, two_workers, error, line):
    told = []
    monkeypatch.setattr(shares, "tell_other_workers", told.append)
    with pytest.raises(type(error)), shares.ending_others(None):
        raise error
    with shares.ending_others(None):
        pass
    assert told == [line]
    monkeypatch.setattr(distribution, "worker", lambda strategy: (0, 1))
    with pytest.raises(type(error)), shares.ending_others(None):
        raise error
    assert told == [line]


def test_all_workers_learn_which_images_were_skipped(monkeypatch):
    theirs = [["a.png", 2], ["b.png", 1]]
    monkeypatch.setattr(distribution, "gather", lambda _, items: [*map(list, items), *theirs])
    dataset = types.SimpleNamespace(skipped={"b.png": 3, "c.png": 1})
    shares.join_skipped(tf.distribute.get_strategy(), dataset)
    assert dataset.skipped == {"a.png": 2, "b.png": 3, "c.png": 1}
