"""Reads the frames of a video file, a stream or a folder of images, one at a time."""

import math
import os
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple, Self

import numpy as np

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import (
    MAX_PIXELS,
    SUFFIXES,
    log_remarks,
    read_with_remarks,
    without_copies,
)
from keras_maskrcnn.typing import Path
from keras_maskrcnn.video.extra import import_av

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv"),
)
# FFmpeg's names of the formats of these files.
_FORMATS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg"
_URL = re.compile(r"(rtsp|rtsps|rtmp|http|https|udp|tcp|srt)://", re.IGNORECASE)
_PATIENCE = 10.0  # seconds without an answer after which a stream counts as ended


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
        number: int from 0. Frames that cannot be decoded are not counted; images of a folder that
            cannot be read are.
        seconds: float. Time since the first frame.
        pixels: (H, W, 3) uint8 RGB, as a player shows it: turned if the file says so.
    """

    number: int
    seconds: float
    pixels: np.ndarray


class Frames:
    """The frames of a video, for one pass: an iterator of `Frame`, and a context manager.

    What cannot be read is left out. Afterwards `damage` has a line about it.

    Attributes:
        name: str. The file or folder, for messages.
        rate: Fraction. Frames per second on average.
        time_base: Fraction of a second. All times are multiples of it.
        count: int. Number of frames, by the header or the duration; None if unknown, as for live
            streams.
        damage: list of str. One line per kind of damage, without the name. Empty until the damage
            is met.
    """

    name: str
    rate: Fraction
    time_base: Fraction
    count: int | None
    damage: list[str]

    def __iter__(self) -> Iterator[Frame]:
        size, others = None, 0
        for frame in self.read():
            size = size or frame.pixels.shape[:2]
            if frame.pixels.shape[:2] == size:
                yield frame
            else:
                others += 1
        if size and others:
            self.damage.append(
                f"{others} frames have another size than the first, {size[1]} x {size[0]}, and are "
                "left out"
            )

    def read(self) -> Iterator[Frame]:
        """Yields the frames, which may differ in size."""
        raise NotImplementedError

    def close(self) -> None:
        """Closes the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_video(source: Path) -> bool:
    """Returns whether a path or URL is taken for a video, by its suffix or scheme."""
    source = os.fspath(source)
    return bool(_URL.match(source)) or source.lower().endswith(VIDEO_SUFFIXES)


def open_frames(source: Path, frame_rate: float | None = None) -> Frames:
    """Opens a video file, the URL of a stream, or a folder of images as frames.

    The images of a folder come in the natural order of their names: runs of digits count as
    numbers, so frame2.png is before frame10.png. Subfolders are not read.

    Args:
        source: str or PathLike.
        frame_rate: float. Frames per second of a folder; None: 25. A video has its own.

    Returns:
        `Frames`.

    Raises:
        ImportError: if a video is given and PyAV is not installed (extra `video`).
        FileNotFoundError: if there is no such file, or no image in the folder.
        ValueError: if `frame_rate` is not positive, or is given for a video.
        DataError: if the file cannot be read, or has no video stream.
    """
    source = os.fspath(source)
    if frame_rate is not None and not 0 < frame_rate <= 1000:
        raise ValueError(f"frame_rate must be in 0..1000. Received: frame_rate={frame_rate!r}.")
    if os.path.isdir(source):
        return _Folder(source, 25 if frame_rate is None else frame_rate)
    if frame_rate is not None:
        raise ValueError(
            f"a video has its own frame rate. Received: frame_rate={frame_rate!r}, "
            f"source={source!r}."
        )
    return _Clip(source)


class _Folder(Frames):
    """The images of a folder as frames of equal duration."""

    def __init__(self, path, frame_rate):
        self.name = path
        self.rate = Fraction(frame_rate).limit_denominator(1001)
        self.time_base = 1 / self.rate
        names = [n for n in os.listdir(path) if n.lower().endswith(SUFFIXES) and n[0] != "."]
        names = without_copies(names)
        self.names = sorted(names, key=_natural)
        self.count, self.damage = len(self.names), []
        if not self.names:
            raise FileNotFoundError(
                f"the folder has no images ({', '.join(SUFFIXES)}). Received: {path!r}."
            )

    def read(self):
        unreadable: list[str] = []
        remarked: dict[str, list[str]] = {}
        for number, name in enumerate(self.names):
            try:
                pixels, remarks = read_with_remarks(os.path.join(self.name, name))
            except DataError:
                unreadable.append(name)
                more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
                self.damage = [
                    f"{len(unreadable)} of {self.count} images cannot be read and are left out: "
                    f"{', '.join(unreadable[:3])}{more}"
                ]
                continue
            for remark in remarks:
                remarked.setdefault(remark, []).append(name)
            yield Frame(number, float(number / self.rate), pixels)
        log_remarks(remarked)


class _Clip(Frames):
    """A video file or stream, decoded by FFmpeg."""

    def __init__(self, source):
        av = import_av(source)
        self.name, self._errors = source, av.error.FFmpegError
        live = _URL.match(source)
        if not live and not os.path.isfile(source):
            raise FileNotFoundError(f"no such file. Received: {source!r}.")
        options = {"rtsp_transport": "tcp"} if source.lower().startswith("rtsp") else {}
        if not live:  # a playlist under another name would open other files
            options = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}
        try:
            self._container = av.open(
                source if live else f"file:{os.path.abspath(source)}",
                timeout=_PATIENCE if live else None,
                options=options,
            )
        except OSError as error:
            raise DataError(f"{source}: cannot be opened: {_reason(error)}.") from error
        except self._errors as error:
            raise DataError(
                f"{source}: no video that FFmpeg can read; another file, truncated or damaged: "
                f"{_reason(error)}."
            ) from error
        try:
            self._stream = self._choose(av)
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
        self.time_base = self._stream.time_base or 1 / self.rate
        self._duration = _duration(self._stream)
        seconds = self._duration or (self._container.duration or 0) / 1_000_000
        self.count = self._stream.frames or round(seconds * self.rate) or None
        self.damage = []

    def _choose(self, av):
        """Returns the video stream that a player would show; raises DataError if there is none."""
        container, name = self._container, self.name
        cover = getattr(av.stream.Disposition, "attached_pic", 0)
        streams = [s for s in container.streams.video if not s.disposition & cover]
        if not streams:
            kinds = sorted({s.type for s in container.streams} - {"video"}) or ["nothing"]
            raise DataError(f"{name}: no video stream. Received: {', '.join(kinds)} only.")
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise DataError(f"{name}: FFmpeg has no decoder for its video.")
        if not 0 < stream.width * stream.height <= MAX_PIXELS:
            raise DataError(
                f"{name}: a frame must have 1 to {MAX_PIXELS} pixels. "
                f"Received: {stream.width} x {stream.height}."
            )
        return stream

    def read(self):
        start, last, seconds, end, number = None, -math.inf, 0.0, 0.0, 0
        step = float(1 / self.rate)
        for frame in self._decoded():
            time = frame.time
            if time is None:  # some raw formats have no times
                time = last + step if number else 0.0
            start = time if start is None else start
            time = max(time, last + float(self.time_base))  # times must rise
            last, seconds = time, time - start
            yield Frame(number, seconds, _upright(frame))
            number, end = number + 1, seconds + float((frame.duration or 0) * self.time_base)
        if number == 0:
            self.damage.append("no frame can be decoded")
        elif self._duration and self._duration - max(end, seconds + step) > 1.5 * step:
            self.damage.append(f"it ends after {seconds + step:.2f} s of {self._duration:.2f} s")

    def _decoded(self):
        """Yields the frames of the stream; counts those that FFmpeg cannot decode."""
        lost = damaged = 0
        reason = ""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except self._errors as error:  # the file or the stream breaks off
                self.damage.append(f"it breaks off: {_reason(error)}")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except self._errors as error:
                lost, reason, frames = lost + 1, _reason(error), []
            damaged += any(packet.is_corrupt or frame.is_corrupt for frame in frames)
            if lost or damaged:
                lines = [f"{lost} frames cannot be decoded and are left out: {reason}"] * (lost > 0)
                self.damage = [*lines, *[f"{damaged} frames are damaged"] * (damaged > 0)]
            yield from frames

    def close(self):
        self._container.close()


def _upright(frame: Any) -> np.ndarray:
    """Returns a frame's pixels, turned as its display matrix says."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # of 90 degrees, counterclockwise
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


def _duration(stream):
    """Returns the seconds of a stream by its header, or None; other streams may be longer."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    text = re.match(r"(\d+):(\d+):(\d+(\.\d+)?)", stream.metadata.get("DURATION", ""))
    if not text:
        return None
    return int(text[1]) * 3600 + int(text[2]) * 60 + float(text[3])


def _natural(name):
    """Returns a key by which 2 comes before 10."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts], name


def _reason(error):
    """Returns FFmpeg's words without number and path."""
    if type(error).__name__ in ("ExitError", "TimeoutError"):  # PyAV's way to end a wait
        return f"nothing came for {_PATIENCE:g} s"
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
