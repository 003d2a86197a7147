"""data/detectron2_proposals.py: pickles are read; foreign, broken and hostile ones are named."""

import enum
import os
import pickle
import sys
import types

import numpy as np
import pytest

from keras_maskrcnn.data import DataError, archives, read_proposals


@pytest.fixture
def proposals():
    """Three images, the second without proposals. The best proposals come first."""
    rng = np.random.default_rng(0)
    found = {}
    for image_id, count in {7: 30, 9: 0, 100: 12}.items():
        corners = rng.uniform(0, 300, [count, 2, 2])
        boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        scores = np.sort(rng.random(count).astype(np.float32))[::-1]
        found[image_id] = boxes.astype(np.float32), scores
    return found


def assert_equal(found, expected):
    for left, right in zip(found, expected, strict=True):
        assert left.dtype == np.float32
        np.testing.assert_array_equal(left, right)


@pytest.fixture
def box_mode(monkeypatch):
    """detectron2's enumeration, in modules that can be imported only during the test."""
    module = types.ModuleType("detectron2.structures.boxes")
    mode = enum.IntEnum("BoxMode", {"XYXY_ABS": 0, "XYWH_ABS": 1, "XYXY_REL": 2})
    mode.__module__ = module.__name__
    module.BoxMode = mode
    for name in ("detectron2", "detectron2.structures"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return mode


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_detectron2s_pickle(proposals, protocol, tmp_path):
    content = {
        "ids": list(proposals),
        "boxes": [boxes for boxes, _ in proposals.values()],
        "objectness_logits": [scores for _, scores in proposals.values()],
        "bbox_mode": 0,
    }
    read = read_proposals(dump(tmp_path / "box_proposals.pkl", content, protocol))
    assert read.image_ids == tuple(proposals)
    for image_id, expected in proposals.items():
        assert_equal(read.get(image_id), expected)


def test_detectrons_names_of_the_same(proposals, tmp_path):
    content = {
        "indexes": np.array(list(proposals)),
        "boxes": [boxes.astype(np.float64) for boxes, _ in proposals.values()],
        "scores": [scores for _, scores in proposals.values()],
        "cfg": "MODEL: {}",
    }
    read = read_proposals(dump(tmp_path / "rpn_proposals.pkl", content))
    assert_equal(read.get(100), proposals[100])


def test_boxes_by_their_sides_as_detectron2s_mode_says(box_mode, tmp_path, monkeypatch):
    content = {
        "ids": [np.int64(5)],
        "boxes": [np.array([[10.0, 20.0, 3.0, 4.0], [0.0, 0.0, 1.0, 2.0]])],
        "objectness_logits": [np.array([-1.0, 4.0])],
        "bbox_mode": box_mode.XYWH_ABS,
    }
    path = dump(tmp_path / "p.pkl", content)
    monkeypatch.delitem(sys.modules, "detectron2.structures.boxes")
    boxes, scores = read_proposals(path).get(5)
    np.testing.assert_array_equal(boxes, [[0, 0, 1, 2], [10, 20, 13, 24]])
    np.testing.assert_array_equal(scores, [4, -1])


def test_other_modes_are_refused(box_mode, tmp_path):
    content = {"ids": [], "boxes": [], "objectness_logits": [], "bbox_mode": box_mode.XYXY_REL}
    with pytest.raises(DataError, match="p.pkl: .* bbox_mode=2"):
        read_proposals(dump(tmp_path / "p.pkl", content))


class Malicious:
    def __reduce__(self):
        return os.system, ("touch was_here",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_something_is_refused_by_name(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"ids": [1], "boxes": [Malicious()], "objectness_logits": [np.zeros(1)]}
    path = dump(tmp_path / "evil.pkl", content, protocol)
    with pytest.raises(DataError, match=r"evil.pkl is refused: .* wants to call \S+\.system"):
        read_proposals(path)
    assert not (tmp_path / "was_here").exists()


def test_other_classes_of_detectron2_are_refused(box_mode, tmp_path, monkeypatch):
    box_mode.__qualname__ = box_mode.__name__ = "Boxes"
    monkeypatch.setattr(sys.modules[box_mode.__module__], "Boxes", box_mode, raising=False)
    path = dump(tmp_path / "p.pkl", {"bbox_mode": box_mode.XYXY_ABS})
    with pytest.raises(DataError, match=r"refused: .* detectron2\.structures\.boxes\.Boxes"):
        read_proposals(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such folder or file of proposals"),
        (b"hello, world", "neither a folder of proposals nor a pickle"),
        (pickle.dumps([1, 2]), "Received: a list"),
        (pickle.dumps({"ids": [1], "boxes": []}), r"without \['objectness_logits'\]"),
        (
            pickle.dumps({"ids": [1], "boxes": [], "scores": []}),
            r"zip\(\) argument 2 is shorter",
        ),
        (
            pickle.dumps({"ids": [1], "boxes": [np.zeros(3)], "scores": [np.zeros(1)]}),
            "cannot reshape",
        ),
        (pickle.dumps({"ids": list(range(99))})[:50], "neither a folder"),
    ],
)
def test_other_files_are_errors_that_name_the_file(content, words, tmp_path):
    path = tmp_path / "p.pkl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"p.pkl: .*{words}"):
        read_proposals(path)


def write_pickle(path, **changes):
    content = {"ids": [1], "boxes": [np.zeros((2, 4))], "objectness_logits": [np.zeros(2)]}
    path.write_bytes(pickle.dumps({**content, **changes}))
    return path


def test_a_pickle_whose_arrays_are_shared_is_refused(tmp_path, monkeypatch):
    boxes, scores = np.zeros((1000, 4)), np.zeros(1000)
    path = write_pickle(
        tmp_path / "p.pkl",
        ids=list(range(200)),
        boxes=[boxes] * 200,
        objectness_logits=[scores] * 200,
    )
    assert len(read_proposals(path)) == 200
    monkeypatch.setattr(archives, "ROOM", 10**6)
    with pytest.raises(DataError, match="p.pkl: .* far more numbers than the file can hold"):
        read_proposals(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ids": [(1, (2, 3))]}, "an id that is a tuple"),
        ({"bbox_mode": [[[1]]]}, "a bbox_mode that is a list"),
        ({"boxes": [[[[[1]] * 4] * 4]]}, "float"),
        ({"boxes": [[[1] * 5]]}, "more than 4 numbers"),
    ],
)
def test_a_pickle_of_other_values_is_refused(changes, words, tmp_path):
    with pytest.raises(DataError, match=f"p.pkl: .*{words}"):
        read_proposals(write_pickle(tmp_path / "p.pkl", **changes))


def test_boxes_may_be_lists(tmp_path):
    path = write_pickle(tmp_path / "p.pkl", boxes=[[[1, 2, 3, 4]]], objectness_logits=[[0.5]])
    boxes, scores = read_proposals(path).get(1)
    assert (boxes.tolist(), scores.tolist()) == ([[1, 2, 3, 4]], [0.5])
