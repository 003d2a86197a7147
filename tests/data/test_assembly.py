"""data/assembly.py: the shares of several workers are the rows of the whole batches."""

import numpy as np
import pytest
import tensorflow as tf
from five_images import numpy, small

from keras_maskrcnn.data import origin


def rows_of(batched, rows, count=None):
    """Returns the elements of a share, as NumPy."""
    share = origin.assembly_of(batched).share([np.array(part) for part in rows])
    return numpy(share if count is None else share.take(count))


def assert_rows(part, batch, rows):
    """Fails unless a part of a batch has these rows; its padding may be smaller."""
    for values, whole in zip(part, batch, strict=True):
        for name, value in values.items():
            if name == "canvases":  # a whole batch has its size already
                continue
            expected = whole[name][rows]
            assert len(value) == len(rows)
            assert all(a <= b for a, b in zip(value.shape, expected.shape, strict=True))
            around = [(0, b - a) for a, b in zip(value.shape, expected.shape, strict=True)]
            np.testing.assert_array_equal(np.pad(value, around), expected, err_msg=name)


@pytest.mark.parametrize("length", [{"repeat": True}, {"steps": 3}])
def test_shares_of_training_are_rows_of_the_same_batches(dataset, length):
    options = dict(training=True, **length, seed=2, first_step=1, min_side=(16, 24))
    whole = numpy(small(dataset, 3, **options).take(2))
    batched = small(dataset, 3, **options).prefetch(1)
    one = rows_of(batched, [[0], [2]], 4)  # a worker with two replicas
    other = rows_of(batched, [[1]], 2)
    for step, batch in enumerate(whole):
        for part, rows in ((one[2 * step], [0]), (one[2 * step + 1], [2]), (other[step], [1])):
            assert_rows(part, batch, rows)


def test_a_share_reads_its_own_images_only(dataset, monkeypatch):
    read = []
    load = type(dataset).load
    monkeypatch.setattr(
        type(dataset), "load", lambda self, index: read.append(index) or load(self, index)
    )
    parts = rows_of(small(dataset, 2, training=True), [[1]])
    assert len(parts) == 2 and sorted(read) == sorted(int(x["indices"][0]) for x, _ in parts)


def test_outside_training_missing_rows_are_images_of_no_size(dataset):
    whole = numpy(small(dataset, 3, training=False))
    parts = rows_of(small(dataset, 3, training=False), [[1, 2]])
    assert_rows(parts[0], whole[0], [1, 2])
    (inputs, targets), (full, _) = parts[1], whole[1]
    np.testing.assert_array_equal(inputs["sizes"], [full["sizes"][1], [0, 0]])
    assert not inputs["images"][1].any() and not targets["labels"][1].any()
    alone = rows_of(small(dataset, 3, training=False, targets=False), [[2], [3]])
    assert len(alone) == 4 and alone[0]["sizes"].all() and not alone[2]["sizes"].any()
    assert alone[3]["images"].size and not alone[3]["images"].any()


def test_a_share_leaves_the_choice_of_a_canvas_to_the_whole_batch(dataset):
    canvases = [(24, 40), (40, 24), (40, 40)]
    (inputs, _), *_ = rows_of(small(dataset, 2, training=False, canvases=canvases), [[0]])
    assert inputs["images"].shape[1:3] == tuple(inputs["sizes"][0])
    np.testing.assert_array_equal(inputs["canvases"], [canvases])
    (inputs, _), *_ = rows_of(small(dataset, 2, training=False, canvases=canvases[2:]), [[0]])
    assert inputs["images"].shape[1:3] == (40, 40) and "canvases" not in inputs
    (inputs, _), *_ = rows_of(small(dataset, 2, training=False), [[0]])
    assert inputs["canvases"].shape == (1, 0, 2)  # the size of the largest image


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"training": True}, 4),
        ({"training": True, "first_step": 2, "steps": 5}, 6),
        ({"training": False}, 6),
    ],
)
def test_a_share_has_an_element_per_batch_and_replica(dataset, options, number):
    batched = small(dataset, 2, **options)
    share = origin.assembly_of(batched).share([np.array([0]), np.array([1])])
    assert int(share.cardinality()) == number == 2 * int(batched.cardinality())
    assert origin.assembly_of(batched.take(1)) is None
    assert origin.assembly_of(tf.data.Dataset.range(3)) is None
