import os
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from drawn_clips import inspect, picture

from keras_maskrcnn import video
from keras_maskrcnn.video import writing


def write(path, count=5, rate=Fraction(25), size=(96, 128), **options):
    with video.VideoWriter(path, rate, **options) as writer:
        for i in range(count):
            writer.write(picture(i, *size), float(i / rate))
    return inspect(path)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(24_000, 1001)])
def test_a_video_has_the_rate_the_size_and_the_times_that_were_given(tmp_path, rate):
    found = write(tmp_path / "clip.mp4", rate=rate, time_base=1 / rate)
    assert (found.rate, found.codec, found.size) == (rate, "h264", (96, 128))
    assert found.seconds == pytest.approx([float(i / rate) for i in range(5)], abs=1e-9)


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
def test_a_video_has_the_pictures_and_colors_that_were_given(tmp_path, monkeypatch, encoder):
    monkeypatch.setattr(writing, "ENCODERS", (encoder,))
    found = write(tmp_path / "clip.mp4")
    assert found.codec == {"libx264": "h264", "mpeg4": "mpeg4"}[encoder]
    for i, pixels in enumerate(found.pixels):
        difference = np.abs(pixels.astype(int) - picture(i))
        assert difference.mean() < 3 and np.median(difference[picture(i)[..., 0] > 200]) < 6
    assert found.seconds == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=1e-4)


def test_the_first_encoder_that_is_there_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "ENCODERS", ("no_such_encoder", "mpeg4"))
    assert write(tmp_path / "clip.mp4").codec == "mpeg4"


def test_odd_sides_get_a_copy_of_the_last_row_and_column(tmp_path):
    found = write(tmp_path / "clip.mp4", size=(95, 127))
    assert found.size == (96, 128)
    np.testing.assert_allclose(found.pixels[0][-1], found.pixels[0][-2], atol=12)


def test_times_of_a_variable_rate_are_kept(tmp_path):
    seconds = [0.0, 0.033, 0.5, 0.533, 2.0]
    with video.VideoWriter(tmp_path / "clip.mp4") as writer:
        for i, second in enumerate(seconds):
            writer.write(picture(i), second)
    assert inspect(tmp_path / "clip.mp4").seconds == pytest.approx(seconds, abs=1e-4)


def test_two_frames_at_one_time_follow_each_other(tmp_path):
    with video.VideoWriter(tmp_path / "clip.mp4") as writer:
        for i in range(3):
            writer.write(picture(i), 0.0)
    assert np.all(np.diff(inspect(tmp_path / "clip.mp4").seconds) > 0)


def test_without_a_frame_there_is_no_file(tmp_path):
    with video.VideoWriter(tmp_path / "clip.mp4"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_frame_of_another_size_is_refused_and_the_others_stay(tmp_path):
    line = r"all frames of a video must have one size. .* \(90, 128\) after \(96, 128\)"
    with (
        pytest.raises(ValueError, match=line),
        video.VideoWriter(tmp_path / "clip.mp4") as writer,
    ):
        writer.write(picture(0), 0.0)
        writer.write(picture(1, height=90), 0.04)
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert len(inspect(tmp_path / "clip.mp4").seconds) == 1


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the name of a video must end in .mp4. Received: path="):
        video.VideoWriter(tmp_path / "clip.avi")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    writer = video.VideoWriter(tmp_path / "nowhere" / "clip.mp4")
    with pytest.raises(OSError, match="nowhere/clip.mp4 cannot be written: No such file"):
        writer.write(picture(0), 0.0)


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from drawn_clips import picture
from keras_maskrcnn import video
writer = video.VideoWriter(sys.argv[1])
for i in range(100):
    writer.write(picture(i % 20), i / 25)
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_wrote_can_be_played(tmp_path):
    folder = os.path.dirname(os.path.dirname(__file__))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "clip.mp4", folder], cwd=os.getcwd()
    )
    assert done.returncode == -signal.SIGKILL
    (name,) = os.listdir(tmp_path)
    assert name.startswith("unfinished-") and name.endswith(".clip.mp4")
    found = inspect(tmp_path / name)
    assert len(found.seconds) >= 25  # all but the last seconds
    assert np.abs(found.pixels[3].astype(int) - picture(3)).mean() < 3
