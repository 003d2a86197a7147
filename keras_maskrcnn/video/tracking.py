"""Tracks of objects across frames, by the ByteTrack of the package `trackers`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.video.extra import import_trackers
from keras_maskrcnn.visualize import PALETTE

_UNTRACKED = np.array([160, 160, 160], np.uint8)


class Tracker:
    """Gives detections of one frame after another the ids of their tracks.

    It is ByteTrack (Zhang et al., 2022), with Roboflow's package `trackers`: boxes are predicted by
    a Kalman filter, and matched by IoU. Classes do not matter: see `nms_across_classes` for objects
    that are found in two classes. A track begins with its second frame in a row.

    Args:
        rate: float. Frames per second.
        start_score: float in [0, 1]. Lowest score of a detection that begins a track. Detections
            with lower scores only continue tracks.
        patience: float, in seconds. A track that is not found for this long ends; an object that
            comes back later gets a new id.

    Raises:
        ImportError: if the package is not installed (extra `track`).
        ValueError: if an argument is out of its range.
    """

    def __init__(self, rate: float = 25.0, start_score: float = 0.5, patience: float = 1.0) -> None:
        if not 0 <= start_score <= 1:
            raise ValueError(f"start_score must be in 0..1. Received: start_score={start_score!r}.")
        if not rate > 0 or not patience >= 0:
            raise ValueError(
                "rate must be positive, and patience at least 0. "
                f"Received: rate={rate!r}, patience={patience!r}."
            )
        trackers, self._supervision = import_trackers()
        self._tracker = trackers.ByteTrackTracker(
            lost_track_buffer=round(30 * patience),  # in frames of 1 / 30 s
            frame_rate=float(rate),
            track_activation_threshold=start_score,
            high_conf_det_threshold=start_score,
        )

    def update(self, found: Mapping[str, Any], seconds: float | None = None) -> np.ndarray:
        """Returns the ids of a frame's detections.

        Args:
            found: dict as `predict_image` returns it.
            seconds: float, more than in the last call. Time of the frame; None: 1 / `rate` after
                the last.

        Returns:
            (n,) int64. Each detection's track, from 1; 0 without a track.
        """
        ids = np.zeros(len(found["scores"]), np.int64)
        detections = self._supervision.Detections(
            xyxy=np.asarray(found["boxes"], np.float32).reshape(-1, 4),
            confidence=np.asarray(found["scores"], np.float32),
            class_id=np.asarray(found["labels"], int),
            data={"index": np.arange(len(ids))},
        )
        tracked = self._tracker.update(detections, timestamp=seconds)
        if len(tracked):  # in another order
            ids[tracked.data["index"]] = tracked.tracker_id + 1  # theirs begin at 0, after -1
        return ids


def track_colors(ids: np.ndarray) -> np.ndarray:
    """Returns a color per track, the same in all frames: (n,) int -> (n, 3) uint8 RGB.

    There are 14; tracks that are numbered 14 apart share one. Without a track: gray.
    """
    keys = np.asarray(ids, np.int64) - 1
    colors, lighter = PALETTE[keys % len(PALETTE)], keys // len(PALETTE) % 2
    colors = colors + lighter.astype(np.uint8)[:, None] * ((255 - colors) // 2)
    return np.where((keys >= 0)[:, None], colors, _UNTRACKED)
