import functools
import http.server
import socket
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from drawn_clips import HEIGHT, WIDTH, picture, write_clip
from PIL import Image

from keras_maskrcnn import video
from keras_maskrcnn.data import DataError
from keras_maskrcnn.video import reading


def read(source, **options):
    """Returns the frames and the lines about damage."""
    with video.open_frames(source, **options) as frames:
        return list(frames), frames.damage


def save(folder, *names, size=(8, 6)):
    for i, name in enumerate(names):
        Image.new("RGB", size, (i, 0, 0)).save(folder / name)


# Folders


def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    save(tmp_path, "frame10.png", "frame2.png", "Frame1.png", "a_3_10.jpg", "a_3_9.jpg", ".b.png")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "sub").mkdir()
    save(tmp_path / "sub", "frame3.png")
    with video.open_frames(tmp_path) as frames:
        assert frames.names == [
            "a_3_9.jpg",
            "a_3_10.jpg",
            "Frame1.png",
            "frame2.png",
            "frame10.png",
        ]
        assert (frames.count, frames.rate) == (5, 25)


def test_frames_of_a_folder_have_the_given_rate(tmp_path):
    save(tmp_path, "1.png", "2.png", "3.png")
    frames, damage = read(tmp_path, frame_rate=29.97)
    assert [frame.number for frame in frames] == [0, 1, 2] and not damage
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(3) / 29.97)
    with video.open_frames(tmp_path, 29.97) as opened:
        assert opened.rate == Fraction(2997, 100)


def test_images_that_do_not_fit_into_the_video_are_left_out_and_named(tmp_path):
    save(tmp_path, "1.png", "2.png", "3.png", "4.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    save(tmp_path, "4.png", size=(8, 7))
    frames, damage = read(tmp_path)
    assert [frame.number for frame in frames] == [0, 2]
    unreadable, others = damage
    assert unreadable == "1 of 4 images cannot be read and are left out: 2.png"
    assert others == "1 frames have another size than the first, 8 x 6, and are left out"


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="the folder has no images"):
        video.open_frames(tmp_path)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 1e6])
def test_a_bad_rate_is_refused(tmp_path, rate):
    with pytest.raises(ValueError, match="frame_rate must be in 0..1000. Received: frame_rate="):
        video.open_frames(tmp_path, rate)


# Clips


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_a_clip_gives_its_frames_in_order(clip):
    with video.open_frames(clip) as frames:
        assert (frames.count, frames.rate) == (12, 25)
        for i, (number, seconds, pixels) in enumerate(frames):
            assert number == i and seconds == pytest.approx(i / 25)
            assert np.abs(pixels.astype(int) - picture(i)).mean() < 3
        assert i == 11 and not frames.damage


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "clip.ts"])
def test_other_containers_begin_at_0_too(tmp_path, name):
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    frames, damage = read(write_clip(tmp_path / name, codec=codec))
    assert len(frames) == 12 and not damage
    assert [frame.seconds for frame in frames] == pytest.approx(np.arange(12) / 25, abs=1e-3)


def test_times_of_a_variable_rate_are_kept(tmp_path):
    seconds = [0.0, 0.04, 0.3, 0.34, 1.0, 1.5, 1.52]
    frames, damage = read(write_clip(tmp_path / "clip.mp4", 7, seconds=seconds))
    assert [frame.seconds for frame in frames] == pytest.approx(seconds) and not damage


@pytest.mark.parametrize(("degrees", "turns"), [(90, -1), (180, 2), (270, 1)])
def test_a_clip_is_turned_as_a_player_turns_it(clip, tmp_path, degrees, turns):
    cos, sin = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    matrix = [cos, sin, 0, -sin, cos, 0, 0, 0, 0x4000]  # clockwise, as phones write it
    content = bytearray(clip.read_bytes())
    start = content.index(b"tkhd") + 44
    numbers = [value << 16 for value in matrix]
    content[start : start + 36] = np.array(numbers, ">i8").astype(">u4").tobytes()
    (tmp_path / "turned.mp4").write_bytes(content)
    (first, *_), damage = read(tmp_path / "turned.mp4")
    expected = np.rot90(picture(0), turns)  # counterclockwise
    assert first.pixels.shape == expected.shape and not damage
    assert np.abs(first.pixels.astype(int) - expected).mean() < 3


def test_only_the_frames_that_are_asked_for_are_decoded(clip):
    with video.open_frames(clip) as frames:
        first = next(iter(frames))
        assert first.number == 0 and frames.count == 12


def test_a_truncated_clip_gives_the_frames_before_and_says_so(clip, tmp_path):
    content = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    frames, damage = read(tmp_path / "cut.mp4")
    assert 4 <= len(frames) < 12
    assert [frame.number for frame in frames] == list(range(len(frames)))
    assert damage[-1] == f"it ends after {len(frames) / 25:.2f} s of 0.48 s"


def test_a_clip_that_ends_early_without_an_error_says_so(tmp_path):
    content = write_clip(tmp_path / "clip.mkv", 40).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    frames, (damage,) = read(tmp_path / "cut.mkv")
    assert len(frames) < 30
    assert damage == f"it ends after {len(frames) / 25:.2f} s of 1.60 s"


def test_frames_after_a_damaged_part_are_read(clip, tmp_path):
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = np.random.default_rng(0).bytes(300)
    (tmp_path / "damaged.mp4").write_bytes(content)
    frames, damage = read(tmp_path / "damaged.mp4")
    assert frames[-1].seconds == pytest.approx(11 / 25)
    assert damage and "frames" in damage[0]


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_a_file_with_sound_only_is_refused(tmp_path):
    write_sound(tmp_path / "sound.mkv")
    with pytest.raises(DataError, match="sound.mkv: no video stream. Received: audio only."):
        video.open_frames(tmp_path / "sound.mkv")


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 99])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    (tmp_path / "text.mp4").write_bytes(content)
    with pytest.raises(DataError, match="text.mp4: no video that FFmpeg can read; another file"):
        video.open_frames(tmp_path / "text.mp4")


def test_a_playlist_that_names_other_files_is_refused(tmp_path):
    write_clip(tmp_path / "other.ts")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.ts\n")
    av.open(str(tmp_path / "list.mp4")).close()  # FFmpeg itself takes it
    with pytest.raises(DataError, match="list.mp4: no video that FFmpeg can read"):
        video.open_frames(tmp_path / "list.mp4")


def test_a_name_with_a_colon_is_no_protocol(clip, tmp_path, monkeypatch):
    (tmp_path / "tcp:a.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert len(read("tcp:a.mp4")[0]) == 12


def test_a_clip_without_its_index_is_refused(clip, tmp_path):
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:200])
    with pytest.raises(DataError, match="cut.mp4: no video"):
        video.open_frames(tmp_path / "cut.mp4")


def test_a_huge_frame_is_refused(clip, monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIXELS", 1000)
    line = f"a frame must have 1 to 1000 pixels. Received: {WIDTH} x {HEIGHT}"
    with pytest.raises(DataError, match=line):
        video.open_frames(clip)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file. Received: '.*nothing.mp4'"):
        video.open_frames(tmp_path / "nothing.mp4")


def test_a_clip_has_its_own_rate(clip):
    with pytest.raises(ValueError, match="a video has its own frame rate. Received: frame_rate=30"):
        video.open_frames(clip, 30)


def test_without_pyav_the_extra_is_named(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"clip.mp4 is a video.*keras3-maskrcnn\[video\]"):
        video.open_frames(clip)


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        ("a/clip.MP4", True),
        ("clip.webm", True),
        ("rtsp://camera/1", True),
        ("https://host/clip", True),
        ("clip.png", False),
        ("clip.gif", False),
        ("mp4", False),
    ],
)
def test_what_is_taken_for_a_video(source, taken):
    assert video.is_video(source) is taken


# Streams


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_a_url_is_read_like_a_file(clip):
    handler = functools.partial(Silent, directory=clip.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        frames, damage = read(f"http://127.0.0.1:{server.server_port}/clip.mp4")
        missing = f"http://127.0.0.1:{server.server_port}/nothing.mp4"
        with pytest.raises(DataError, match="nothing.mp4: .*404"):
            video.open_frames(missing)
        server.shutdown()
    assert len(frames) == 12 and not damage


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(reading, "_PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        with pytest.raises(DataError, match=f"{url}: .*: nothing came for 0.5 s"):
            video.open_frames(url)


def test_a_stream_that_stops_sending_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PATIENCE", 1.0)
    content = write_clip(tmp_path / "clip.ts", 40).read_bytes()
    ended = threading.Event()

    def serve(server):
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
            connection.sendall(content[: len(content) // 2])
            ended.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=[server], daemon=True)
        thread.start()
        frames, damage = read(f"http://127.0.0.1:{server.getsockname()[1]}/clip.ts")
        ended.set()
    assert 5 < len(frames) < 40
    assert damage == ["it breaks off: nothing came for 1 s"]
