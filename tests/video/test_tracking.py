import sys

import numpy as np
import pytest
from drawn_clips import FakeModel, boxes_at, write_clip

from keras_maskrcnn import video
from keras_maskrcnn.visualize import PALETTE


def found_in(i, order, scores=0.9):
    return {
        "boxes": boxes_at(i)[order],
        "scores": np.full(len(order), scores, np.float32),
        "labels": np.ones(len(order), np.int32),
    }


@pytest.fixture
def needs_trackers():
    pytest.importorskip("trackers", reason="needs the extra track")


@pytest.mark.usefixtures("needs_trackers")
def test_objects_that_do_not_touch_keep_their_ids(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", 24)
    ids = {1: [], 2: [], 3: []}
    for result in video.predict_video(FakeModel(), clip, track=True):
        for label, i in zip(result.found["labels"], result.found["track_ids"], strict=True):
            ids[label].append(int(i))
    # A track begins with its second frame.
    assert [found[0] for found in ids.values()] == [0, 0, 0]
    assert all(found[1:] == found[1:2] * 23 for found in ids.values())
    assert sorted(found[1] for found in ids.values()) == [1, 2, 3]


@pytest.mark.usefixtures("needs_trackers")
def test_ids_follow_the_objects_and_not_the_order():
    tracker, rng = video.Tracker(), np.random.default_rng(0)
    of_object = []
    for i in range(10):
        order = rng.permutation(3)
        ids = np.empty(3, int)
        ids[order] = tracker.update(found_in(i, order))
        of_object.append(ids.tolist())
    assert of_object[0] == [0, 0, 0] and sorted(of_object[1]) == [1, 2, 3]
    assert of_object[1:] == of_object[1:2] * 9


@pytest.mark.usefixtures("needs_trackers")
def test_an_object_that_is_missed_for_some_frames_keeps_its_id():
    tracker, everything = video.Tracker(patience=1.0), [0, 1, 2]
    for i in range(4):
        before = tracker.update(found_in(i, everything), i / 25)
    for i in range(4, 8):
        tracker.update(found_in(i, [0, 2]), i / 25)
    assert tracker.update(found_in(8, everything), 8 / 25).tolist() == before.tolist()


@pytest.mark.usefixtures("needs_trackers")
def test_a_track_that_is_lost_for_long_ends():
    tracker, everything = video.Tracker(patience=0.2), [0, 1, 2]
    for i in range(4):
        before = tracker.update(found_in(i, everything), i / 25)
    for i in range(4, 14):
        tracker.update(found_in(i, [0, 2]), i / 25)
    for i in range(14, 16):
        after = tracker.update(found_in(i, everything), i / 25)
    assert after[1] == 4 and after[[0, 2]].tolist() == before[[0, 2]].tolist()


@pytest.mark.usefixtures("needs_trackers")
def test_low_scores_begin_no_track_but_continue_one():
    tracker = video.Tracker(start_score=0.5)
    for i in range(3):
        assert tracker.update(found_in(i, [0, 1], 0.4)).tolist() == [0, 0]
    tracker.update(found_in(3, [0, 1], 0.6))
    ids = tracker.update(found_in(4, [0, 1], 0.6))
    assert sorted(ids) == [1, 2]
    assert tracker.update(found_in(5, [0, 1], 0.4)).tolist() == ids.tolist()


@pytest.mark.usefixtures("needs_trackers")
def test_frames_without_detections_are_taken():
    tracker = video.Tracker()
    assert tracker.update(found_in(0, [])).shape == (0,)
    tracker.update(found_in(1, [0]))
    assert tracker.update(found_in(2, [0])).tolist() == [1]
    assert tracker.update(found_in(3, [])).shape == (0,)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    with pytest.raises(ImportError, match=r"tracks need .*: pip install keras3-maskrcnn\[track\]"):
        video.Tracker()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"start_score": 2}, "start_score must be in 0..1. Received: start_score=2"),
        ({"rate": 0}, "rate must be positive, .* Received: rate=0"),
        ({"patience": -1}, "patience at least 0. .* patience=-1"),
    ],
)
def test_bad_arguments_are_refused(arguments, line):
    with pytest.raises(ValueError, match=line):
        video.Tracker(**arguments)


def test_a_track_has_one_color_and_the_first_14_differ():
    colors = video.track_colors(np.arange(1, 15))
    assert len(np.unique(colors, axis=0)) == 14
    np.testing.assert_array_equal(colors[0], PALETTE[0])
    again = video.track_colors(np.array([5, 0, 15]))
    np.testing.assert_array_equal(again, [colors[4], [160, 160, 160], colors[0]])
    assert video.track_colors(np.array([], int)).shape == (0, 3)
