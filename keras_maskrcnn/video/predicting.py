"""Runs a model on the frames of a video."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from keras_maskrcnn import detections
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.data.bands import fit
from keras_maskrcnn.data.errors import DataError, check_on_error
from keras_maskrcnn.typing import Path
from keras_maskrcnn.video.reading import Frames, open_frames
from keras_maskrcnn.video.tracking import Tracker


class FrameResult(NamedTuple):
    """What a model finds in one frame.

    Attributes:
        number: int, as in `Frame`.
        seconds: float, as in `Frame`.
        pixels: (H, W, 3) uint8 RGB.
        found: dict as `predict_image` returns it. With tracks also track_ids (n,) int64, from 1; 0
            without a track.
    """

    number: int
    seconds: float
    pixels: np.ndarray
    found: dict[str, Any]


def predict_video(
    model: Any,
    source: Path | Frames,
    *,
    score_threshold: float = 0.0,
    max_mask_overlap: float = 1.0,
    track: bool | Tracker = False,
    frame_rate: float | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> Iterator[FrameResult]:
    """Runs a model on a video, frame by frame. Only one frame is in memory.

    `for number, seconds, pixels, found in predict_video(model, "clip.mp4"): ...`

    Args:
        model: MaskRCNN, or an exported model. It must take RGB or gray of 8 bits; for gray, frames
            are converted.
        source: path of a video file or of a folder of images, URL of a stream, or `Frames`. See
            `open_frames`.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        max_mask_overlap: float in [0, 1], as in `predict_image`.
        track: whether to follow objects from frame to frame, or the `Tracker` to use.
        frame_rate: float. Frames per second of a folder; None: 25.
        on_error: what happens at the end if parts of the video could not be read. "raise": a
            DataError, after all frames that could be read. "skip": nothing.

    Returns:
        Iterator of `FrameResult`, in the order of the frames.

    Raises:
        ImportError: if an extra is missing: `video` for videos, `track` for tracks.
        FileNotFoundError: if there is no such file, or no image in the folder.
        ValueError: if an argument is not as above.
        DataError: if nothing can be read, or at the end, see `on_error`.
    """
    check_on_error(on_error)
    check_config(model.config)
    frames = source if isinstance(source, Frames) else open_frames(source, frame_rate)
    tracker = Tracker(float(frames.rate)) if track is True else track or None
    limits = {"score_threshold": score_threshold, "max_mask_overlap": max_mask_overlap}
    return _results(model, frames, tracker, limits, on_error)


def check_config(config: MaskRCNNConfig) -> None:
    """Raises ValueError if a model with this config cannot take the frames of a video.

    Args:
        config: of the model.
    """
    if config.in_channels not in (1, 3) or config.image_dtype != "uint8":
        raise ValueError(
            "a model for videos must take RGB or gray of 8 bits. Received: "
            f"in_channels={config.in_channels}, image_dtype={config.image_dtype!r}."
        )


def _results(model, frames, tracker, limits, on_error):
    with frames:
        for frame in frames:
            pixels = fit(frame.pixels, frames.name, model.config.in_channels, "uint8")
            found = detections.predict_image(model, pixels, **limits)
            if tracker is not None:
                found["track_ids"] = tracker.update(found, frame.seconds)
            yield FrameResult(frame.number, frame.seconds, frame.pixels, found)
        if frames.damage and on_error == "raise":
            raise DataError(f"{frames.name}: {'; '.join(frames.damage)}.")
