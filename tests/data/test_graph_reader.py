"""data/graph_reader.py: reading, caching, and unreadable files."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from five_images import assert_equal, numpy, small, some_proposals

from keras_maskrcnn.data import (
    ProposalWriter,
    origin,
    read_proposals,
)


def test_labels_stand_for_non_contiguous_category_ids(dataset):
    _, targets = numpy(small(dataset, 1, training=False))[4]
    assert [dataset.category_ids[i - 1] for i in targets["labels"][0, :4]] == [7, 12, 31, 7]


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
    """With `cache`, the decoding function keeps all images."""

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
    assert len(logged) == 1 and logged[0].startswith("skipped unreadable image 1: ")
    assert f"{tmp_path / '3.png'}: image cannot be decoded" in logged[0]
    numpy(small(dataset, 1, on_error="skip", **options))
    assert dataset.skipped == {"3.png": 2} and len(logged) == 1


def test_a_set_of_unreadable_images_is_an_error(dataset, tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.png").write_text("no image")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=True, on_error="skip"))
    assert "none of 5 images can be read" in origin.data_error(caught.value)


def test_without_targets_only_images_are_read(dataset, monkeypatch):
    monkeypatch.setattr(type(dataset), "load", lambda *_: pytest.fail("annotations were read"))
    inputs = numpy(small(dataset, training=False, targets=False))
    assert [sorted(x) for x in inputs] == [["images", "original_sizes", "sizes"]] * 3


def test_a_broken_shard_is_named_in_the_pipelines_error(dataset, tmp_path):
    with ProposalWriter(tmp_path / "p", dataset.image_ids) as writer:
        for image_id, found in some_proposals(dataset).items():
            writer.add(image_id, *found)
    proposals = read_proposals(tmp_path / "p")
    (tmp_path / "p" / "proposals-00000-of-00001.npz").write_bytes(b"PK")
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, proposals=proposals, max_proposals=9))
    assert "proposals-00000-of-00001.npz: shard" in origin.data_error(caught.value)
