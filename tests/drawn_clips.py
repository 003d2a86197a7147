"""Draws clips of moving shapes, and has a fake model that finds shapes by their colors."""

import types
from fractions import Fraction

import av
import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig

COLORS = np.array([(220, 40, 40), (40, 190, 60), (50, 80, 230)], np.uint8)
HEIGHT, WIDTH = 96, 128


def boxes_at(i):
    """Returns the boxes (3, 4) of frame i: two shapes that pass each other, one that crosses them.

    They never touch.
    """
    return np.array(
        [
            (4 + 4 * i, 8, 24 + 4 * i, 28),
            (104 - 4 * i, 64, 124 - 4 * i, 88),
            (54, 30 + i, 74, 46 + i),
        ],
        np.float32,
    )


def picture(i, height=HEIGHT, width=WIDTH):
    """Returns frame i, (H, W, 3) uint8."""
    pixels = np.full((height, width, 3), 90, np.uint8)
    for (x1, y1, x2, y2), color in zip(boxes_at(i).astype(int), COLORS, strict=True):
        pixels[y1:y2, x1:x2] = color
    return pixels


def write_clip(path, count=12, size=(HEIGHT, WIDTH), rate=25, seconds=None, codec="libx264"):
    """Writes a clip; `seconds` has the time of each frame."""
    options = {"movflags": "faststart"} if str(path).endswith("mp4") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.colorspace = 1  # BT.709
        if codec == "libx264":
            stream.options = {"crf": "5", "bf": "0", "g": "5"}
        if seconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i, *size), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=1)
            frame.pts = i if seconds is None else round(1000 * seconds[i])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class FakeModel:
    """Finds the shapes of `picture` by their colors, and sees each in one class: label i + 1."""

    def __init__(self, score=0.9):
        self.config = MaskRCNNConfig(num_classes=3, class_names=("red", "green", "blue"))
        self.score, self.shapes = score, []

    def predict_on_batch(self, images):
        self.shapes.append(images.shape[1:])
        boxes, labels = [], []
        for label, color in enumerate(COLORS, start=1):
            ys, xs = np.nonzero(np.abs(images[0].astype(int) - color).max(axis=-1) < 60)
            if len(xs) > 20:
                boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
                labels.append(label)
        count = len(boxes)
        order = np.roll(np.arange(count), len(self.shapes))  # scores do not give the order away
        return {
            "boxes": np.array(boxes, np.float32).reshape(1, -1, 4)[:, order],
            "scores": np.full((1, count), self.score, np.float32),
            "labels": np.array([labels], np.int32).reshape(1, -1)[:, order],
            "masks": np.ones((1, count, 28, 28), np.float32),
            "num_detections": np.array([count]),
        }


def inspect(path):
    """Returns what a player learns of a file: rate, size, codec, times and pixels of all frames."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return types.SimpleNamespace(
            rate=stream.average_rate,
            codec=stream.codec_context.name,
            size=(stream.height, stream.width),
            seconds=[frame.time for frame in frames],
            pixels=[frame.to_ndarray(format="rgb24") for frame in frames],
        )
