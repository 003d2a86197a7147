"""data/proposals.py: writing and reading, and errors for broken folders."""

import json
import os

import numpy as np
import pytest

from keras_maskrcnn.data import DataError, ProposalWriter, read_proposals
from keras_maskrcnn.data.proposals import check_images


def random_proposals(count, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 300, [count, 2, 2])
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return boxes.astype(np.float32), np.sort(rng.random(count).astype(np.float32))[::-1]


def write(path, proposals, **options):
    with ProposalWriter(path, list(proposals), **options) as writer:
        for image_id, (boxes, scores) in proposals.items():
            writer.add(image_id, boxes, scores)


@pytest.fixture
def proposals():
    """Five images, the third without proposals."""
    counts = {7: 30, 3: 1, 9: 0, 100: 12, 4: 5}
    return {image_id: random_proposals(n, image_id) for image_id, n in counts.items()}


@pytest.fixture
def folder(proposals, tmp_path):
    write(tmp_path / "proposals", proposals, images_per_shard=2)
    return tmp_path / "proposals"


def assert_equal(found, expected):
    for left, right in zip(found, expected, strict=True):
        assert left.dtype == np.float32
        np.testing.assert_array_equal(left, right)


def test_what_is_written_is_read_to_the_last_bit(folder, proposals):
    read = read_proposals(folder)
    assert read.image_ids == tuple(proposals) and len(read) == 5
    for image_id in (4, 7, 9, 3, 100):  # in any order
        assert_equal(read.get(image_id), proposals[image_id])


def test_ids_may_be_strings(proposals, tmp_path):
    named = {f"image {i}": value for i, value in proposals.items()}
    write(tmp_path / "p", named)
    read = read_proposals(tmp_path / "p")
    assert "image 7" in read and 7 not in read
    assert_equal(read.get("image 7"), proposals[7])


def test_the_files_are_as_documented(folder, proposals):
    names = [f"proposals-0000{i}-of-00003.npz" for i in range(3)]
    assert sorted(os.listdir(folder)) == ["index.json", *names]
    index = json.loads((folder / "index.json").read_text())
    assert (index["format"], index["version"]) == ("keras_maskrcnn.proposals", 1)
    assert index["num_images"] == 5 and index["shards"] == [[7, 3], [9, 100], [4]]
    with np.load(folder / names[1]) as shard:
        kinds = {name: shard[name].dtype for name in shard.files}
        assert kinds == {"image_ids": "int64", "counts": "int32", "boxes": "f4", "scores": "f4"}
        assert shard["image_ids"].tolist() == [9, 100] and shard["counts"].tolist() == [0, 12]
        np.testing.assert_array_equal(shard["boxes"], proposals[100][0])


def test_the_best_come_first_whatever_the_file_says(tmp_path):
    boxes = np.arange(12, dtype=np.float32).reshape(3, 4)
    write(tmp_path / "p", {1: (boxes, [0.5, -1.0, 2.0])})
    found, scores = read_proposals(tmp_path / "p").get(1)
    np.testing.assert_array_equal(scores, [2.0, 0.5, -1.0])
    np.testing.assert_array_equal(found, boxes[[2, 0, 1]])


def test_a_shard_is_read_when_an_image_of_it_is_asked_for(folder, proposals):
    os.remove(folder / "proposals-00001-of-00003.npz")
    read = read_proposals(folder)
    assert_equal(read.get(4), proposals[4])
    with pytest.raises(DataError, match=r"proposals-00001-of-00003\.npz: shard cannot be read"):
        read.get(100)


def test_shards_that_were_read_are_kept_but_few(tmp_path, proposals, monkeypatch):
    opened = []
    original = np.load
    monkeypatch.setattr(np, "load", lambda path, **k: opened.append(path) or original(path, **k))
    many = {i: random_proposals(1, i) for i in range(20)}
    write(tmp_path / "p", many, images_per_shard=1)
    read = read_proposals(tmp_path / "p")
    for image_id in (0, 0, *range(1, 20), 19, 0):
        read.get(image_id)
    assert len(opened) == 21  # 20 shards, and the first once more


def test_a_missing_image_is_named(folder):
    with pytest.raises(DataError, match=r"proposals: no proposals for 1 images\. .*image_id=8\.$"):
        read_proposals(folder).get(8)
    with pytest.raises(DataError, match=r"no proposals for 2 images\. Received: image_id='7'\.$"):
        check_images(read_proposals(folder), [7, "7", 8])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_shard_is_named(folder, share):
    path = folder / "proposals-00000-of-00003.npz"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"00000-of-00003\.npz: shard cannot be read") as caught:
        read_proposals(folder).get(7)
    assert "\n" not in str(caught.value)


def test_a_changed_byte_is_found(folder):
    path = folder / "proposals-00000-of-00003.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # zip files have checksums
    path.write_bytes(content)
    with pytest.raises(DataError, match="shard cannot be read"):
        read_proposals(folder).get(7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_ids": np.array([3, 7])}, "image_ids that differ from the index"),
        ({"counts": np.array([30, 2])}, r"31 boxes, 31 scores, counts 32"),
        ({"counts": np.array([-1, 32])}, "counts of"),
        ({"counts": np.array([30.0, 1.0])}, "counts of"),
        ({"scores": np.zeros(30)}, "31 boxes, 30 scores"),
        ({"boxes": np.array([None] * 31)}, "allow_pickle"),  # objects are pickles
        ({"boxes": None}, "boxes"),
    ],
)
def test_a_shard_that_contradicts_itself_is_named(folder, change, words):
    path = folder / "proposals-00000-of-00003.npz"
    with np.load(path) as stored:
        arrays = {**stored, **change}
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(DataError, match=rf"00000-of-00003\.npz: shard cannot .*{words}"):
        read_proposals(folder).get(7)


@pytest.mark.parametrize(
    "boxes", [np.zeros([31, 5]), np.full([31, 4], np.nan), np.full([31, 4], "1")]
)
def test_boxes_that_are_none_are_named_with_their_image(folder, boxes):
    path = folder / "proposals-00000-of-00003.npz"
    with np.load(path) as stored:
        arrays = {**stored, "boxes": boxes}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"proposals: image 7: boxes (must be|and scores must)"):
        read_proposals(folder).get(7)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "this release reads version 1. Received: version=2."),
        ({"format": "coco"}, "not an index of proposals. Received: format='coco'."),
        ({"num_images": 6}, "shards must be lists"),
        ({"shards": [[7, 3], [9, 100], [7]]}, "shards must be lists"),
        ({"shards": [[7, 3], [9, 100], [[4]]]}, "shards must be lists"),
        ({"shards": None}, "shards must be lists"),
    ],
)
def test_an_index_of_another_kind_is_refused(folder, change, words):
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**index, **change}))
    with pytest.raises(DataError, match=f"index.json: {words}"):
        read_proposals(folder)


def test_an_index_that_is_no_json_is_refused(folder):
    (folder / "index.json").write_text('{"format":')
    with pytest.raises(DataError, match="index.json: cannot be read as json"):
        read_proposals(folder)


def test_an_interrupted_run_is_not_taken_for_whole(proposals, tmp_path):
    path = tmp_path / "p"
    with pytest.raises(KeyboardInterrupt), ProposalWriter(path, list(proposals)) as writer:
        writer._shard_size = 2
        for image_id in (7, 3, 9):
            writer.add(image_id, *proposals[image_id])
        raise KeyboardInterrupt
    assert os.listdir(path) == ["proposals-00000-of-00003.npz"]
    (path / "proposals-00001-of-00003.npz.new").write_bytes(b"PK")  # killed while writing
    with pytest.raises(DataError, match=r"index.json: there is no such file: .* interrupted"):
        read_proposals(path)
    with pytest.raises(FileExistsError, match="p holds proposals of an earlier run"):
        ProposalWriter(path, [1])
    write(path, proposals, overwrite=True)
    assert sorted(os.listdir(path)) == ["index.json", "proposals-00000-of-00001.npz"]
    assert_equal(read_proposals(path).get(4), proposals[4])


def test_an_interrupted_overwrite_leaves_no_index_of_the_old_ones(folder):
    with pytest.raises(KeyboardInterrupt), ProposalWriter(folder, [1], overwrite=True):
        raise KeyboardInterrupt
    with pytest.raises(DataError, match="index.json: there is no such file"):
        read_proposals(folder)


def test_overwriting_leaves_other_files_alone(folder, proposals):
    (folder / "notes.txt").write_text("mine")
    write(folder, proposals, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_images_are_added_in_their_order_and_all_of_them(proposals, tmp_path):
    writer = ProposalWriter(tmp_path / "p", list(proposals))
    with pytest.raises(ValueError, match="in the order of image_ids. Received: image_id=3"):
        writer.add(3, *proposals[3])
    with pytest.raises(DataError, match=r"image 7: boxes must be \(n, 4\)"):
        writer.add(7, np.zeros([2, 4]), np.zeros(3))
    with pytest.raises(ValueError, match="every image must be added. Received: 1 of 5"), writer:
        writer.add(7, *proposals[7])


@pytest.mark.parametrize("ids", [[1, 1], [1, "1"], [1.5], [True], [None], [2**70], ["a\0"]])
def test_ids_that_arrays_cannot_hold_are_refused(ids, tmp_path):
    with pytest.raises(ValueError, match="image_ids must be distinct, and all int or all str"):
        ProposalWriter(tmp_path / "p", ids)
