import json
import os
import signal

import numpy as np
import pytest
from drawn_clips import FakeModel, boxes_at, inspect, picture, write_clip
from PIL import Image

from keras_maskrcnn import cli


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Returns a function that runs `predict` with a fake model; gives status, results, video."""
    model = FakeModel()
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_predictor", lambda options: model)

    def run(source, *flags):
        output = tmp_path / "out"
        argv = ["predict", "--model=m.onnx", f"--input={source}", f"--output={output}"]
        try:
            status = cli.run([*argv, *flags])
        except SystemExit as stopped:
            status = stopped.code
        written = output / "predictions.json"
        results = json.loads(written.read_text()) if written.exists() else None
        videos = list(output.glob("*.mp4"))
        return status, results, inspect(videos[0]) if videos else None

    run.model = model
    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_a_clip_gives_a_drawn_clip_and_results_per_frame(run, clip, tmp_path, capsys):
    status, results, drawn = run(clip)
    assert status == 0 and sorted(os.listdir(tmp_path / "out")) == ["clip.mp4", "predictions.json"]
    assert "36 detections in 12 frames" in capsys.readouterr().out
    assert [result["frame"] for result in results] == list(np.repeat(np.arange(12), 3))
    assert results[3]["time"] == 0.04 and results[3]["file_name"] == "clip.mp4"
    assert results[3]["segmentation"]["size"] == [96, 128] and "track_id" not in results[3]
    for result in results:
        x, y, w, h = result["bbox"]
        truth = boxes_at(result["frame"])[result["category_id"] - 1]
        np.testing.assert_allclose([x, y, x + w, y + h], truth, atol=2)
    assert (drawn.rate, drawn.size, drawn.codec) == (25, (96, 128), "h264")
    assert drawn.seconds == pytest.approx(np.arange(12) / 25)
    assert np.abs(drawn.pixels[5].astype(int) - picture(5)).mean() > 5  # something is drawn


def test_the_frames_of_a_folder_become_a_video(run, tmp_path):
    (tmp_path / "shots").mkdir()
    for i in (1, 2, 10):
        Image.fromarray(picture(i)).save(tmp_path / "shots" / f"f{i}.png")
    status, results, drawn = run(tmp_path / "shots", "--frames", "--frame_rate=10", "--quiet")
    assert status == 0 and (tmp_path / "out" / "shots.mp4").exists()
    assert drawn.rate == 10 and drawn.seconds == pytest.approx([0, 0.1, 0.2])
    red = [result["bbox"][0] for result in results if result["category_id"] == 1]
    assert red == pytest.approx([8, 12, 44], abs=2)  # 1, 2, 10


def test_the_track_is_in_the_results_and_in_the_picture(run, clip):
    pytest.importorskip("trackers", reason="needs the extra track")
    status, results, drawn = run(clip, "--track")
    assert status == 0
    ids = {label: set() for label in (1, 2, 3)}
    for result in results:
        ids[result["category_id"]].add(result.get("track_id"))
    assert sorted(map(len, ids.values())) == [2, 2, 2]  # none in the first frame
    assert set().union(*ids.values()) == {None, 1, 2, 3}
    # Orange, the color of track 1, is in every frame but the first.
    orange = [(np.abs(p.astype(int) - (230, 159, 0)).max(axis=-1) < 30).sum() for p in drawn.pixels]
    assert orange[0] < 20 < min(orange[1:])


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_stop_leaves_a_video_and_results_of_what_was_done(run, clip, monkeypatch, number, status):
    predict = FakeModel.predict_on_batch

    def stopped(self, images):
        if len(self.shapes) == 5:
            os.kill(os.getpid(), number)
        return predict(self, images)

    monkeypatch.setattr(FakeModel, "predict_on_batch", stopped)
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found, results, drawn = run(clip)
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert found == status
    assert {result["frame"] for result in results} == set(range(5))
    assert drawn.seconds == pytest.approx(np.arange(5) / 25)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_truncated_clip_is_done_up_to_there(run, clip, tmp_path, capsys, on_error):
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    status, results, drawn = run(tmp_path / "cut.mp4", f"--on_error={on_error}")
    printed = capsys.readouterr()
    line = "s of 0.48 s."
    assert status == (1 if on_error == "raise" else 0)
    assert line in (printed.err if on_error == "raise" else printed.out)
    assert 4 <= len(drawn.seconds) < 12 and len(results) == 3 * len(drawn.seconds)
    assert f"in {len(drawn.seconds)} frames" in printed.out


def test_objects_whose_masks_overlap_are_dropped_if_so_asked(run, clip, monkeypatch):
    predict = FakeModel.predict_on_batch

    def everything(self, images):
        found = predict(self, images)
        found["boxes"][:] = [[[10, 10, 60, 60]]]
        return found

    monkeypatch.setattr(FakeModel, "predict_on_batch", everything)
    _, results, _ = run(clip, "--max_mask_overlap=0.5")
    assert [result["frame"] for result in results] == list(range(12))


def test_a_file_that_is_no_video_is_one_line_and_nothing_is_written(run, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    assert run(tmp_path / "text.mp4") == (1, None, None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "text.mp4: no video that FFmpeg can read" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--input=a.png", "--track"], "--track is for videos"),
        (["--input=a.mp4", "--frames"], "--frames needs a folder"),
        (["--input=a.mp4", "--frame_rate=5"], "--frame_rate needs --frames"),
        (["--input=a.mp4", "--format=csv"], "--format is for images, not videos"),
        (["--input=a.mp4", "--tolerance=1"], "--tolerance is for images, not videos"),
        (["--input=a.mp4", "--resume"], "--resume is for images, not videos"),
        (["--input=a.mp4", "--viewer"], "--viewer is for images, not videos"),
        (["--input=nothing.mp4"], "no such file. Received: 'nothing.mp4'"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, line, tmp_path, capsys):
    assert cli.run(["predict", "--model=m.onnx", f"--output={tmp_path}", *flags]) == 1
    assert line in capsys.readouterr().err


def test_the_clip_is_not_replaced(run, clip, capsys):
    argv = ["predict", "--model=m.onnx", f"--input={clip}", f"--output={clip.parent}"]
    assert cli.run([*argv, "--overwrite"]) == 1
    assert "pictures would replace images" in capsys.readouterr().err
