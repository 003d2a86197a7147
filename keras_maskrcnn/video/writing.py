"""Writes frames as an MP4 file."""

import os
from fractions import Fraction
from typing import Any, Self

import numpy as np

from keras_maskrcnn.files import unfinished
from keras_maskrcnn.typing import Path
from keras_maskrcnn.video.extra import import_av

ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""FFmpeg's encoders in the order of preference; PyAV's wheels have the first."""

_COLORS = 1  # BT.709, which players assume if a file says nothing
_OPTIONS = {
    # Without B-frames the first frame has time 0 in fragmented files too.
    "libx264": {"crf": "20", "preset": "veryfast", "bf": "0"},
    "libopenh264": {"b": "8M"},
    "mpeg4": {"q": "3"},
}


class VideoWriter:
    """Writes frames as an MP4 file; a context manager.

    The file has H.264, or MPEG-4 where the installed FFmpeg cannot write H.264. Both store colors
    for two pixels together. So an odd side gets one more row or column, a copy of the last.

    The file is written under a name that begins with "unfinished-", and renamed by `close`. A
    process that is killed leaves a file that can be played up to its last second or so.

    Args:
        path: str or PathLike. Ends in .mp4.
        rate: Fraction or float. Frames per second on average, for the file's header.
        time_base: Fraction of a second. The times of frames are rounded to multiples of it.

    Raises:
        ImportError: if PyAV is not installed (extra `video`).
        ValueError: if the path does not end in .mp4.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction | float = 25,
        time_base: Fraction = Fraction(1, 90_000),
    ) -> None:
        self.path = os.fspath(path)
        if not self.path.lower().endswith(".mp4"):
            raise ValueError(f"the name of a video must end in .mp4. Received: path={path!r}.")
        self._av = import_av(self.path)
        self._rate = Fraction(rate).limit_denominator(1001)
        self._time_base = time_base
        self._unfinished = unfinished(os.path.realpath(self.path))
        self._container: Any = None
        self._size, self._last = (0, 0), -1

    def write(self, pixels: np.ndarray, seconds: float) -> None:
        """Writes a frame.

        Args:
            pixels: (H, W, 3) uint8 RGB, of the same size in all calls.
            seconds: float, more than in the last call. Time of the frame.

        Raises:
            ValueError: if a frame has another size than the first.
            OSError: if the file cannot be written.
        """
        if self._container is None:
            self._open(*pixels.shape[:2])
        if pixels.shape[:2] != self._size:
            raise ValueError(
                "all frames of a video must have one size. Received: (height, width) "
                f"{pixels.shape[:2]} after {self._size}."
            )
        height, width = self._size
        odd = ((0, height % 2), (0, width % 2), (0, 0))
        if height % 2 or width % 2:
            pixels = np.pad(pixels, odd, mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_COLORS, dst_color_range=1)
        frame.time_base = self._stream.codec_context.time_base
        frame.pts = max(round(seconds / frame.time_base), self._last + 1)
        self._last = frame.pts
        self._mux(frame)

    def _open(self, height, width):
        encoder = next(name for name in ENCODERS if self._has(name))
        time_base = self._time_base
        if encoder == "mpeg4":  # its header has 16 bits for the denominator
            time_base = max(time_base, Fraction(1, 60_000))
        self._container = self._av.open(
            self._unfinished,
            "w",
            format="mp4",
            # In fragments while it is written, and whole at the end.
            options={"movflags": "hybrid_fragmented", "flush_packets": "1"},
        )
        self._stream = self._container.add_stream(
            encoder, rate=self._rate, options=_OPTIONS[encoder]
        )
        context = self._stream.codec_context
        context.width, context.height = width + width % 2, height + height % 2
        context.pix_fmt, context.time_base = "yuv420p", time_base
        context.gop_size = max(1, round(self._rate))  # a fragment per second
        context.colorspace = context.color_primaries = context.color_trc = _COLORS
        context.color_range = 1  # limited
        self._size = height, width
        try:
            self._container.start_encoding()
        except self._av.error.FFmpegError as error:
            self._container = None
            raise self._failed(error) from error

    def _has(self, encoder):
        try:
            self._av.codec.Codec(encoder, "w")
        except ValueError:  # PyAV's UnknownCodecError
            return False
        return True

    def _mux(self, frame):
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.error.FFmpegError as error:
            raise self._failed(error) from error

    def _failed(self, error):
        reason = getattr(error, "strerror", None) or error
        return OSError(f"{self.path} cannot be written: {reason}.")

    def close(self) -> None:
        """Completes the file and gives it its name. Without a frame there is no file."""
        if self._container is None:
            return
        try:
            self._mux(None)
            self._container.close()
        except self._av.error.FFmpegError as error:
            raise self._failed(error) from error
        finally:
            self._container = None
            if os.path.exists(self._unfinished):
                os.replace(self._unfinished, os.path.realpath(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
