"""Drawn images and a model that finds the objects in them exactly, without a network."""

import dataclasses

import numpy as np

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.ops import masks as mask_ops


def draw(size, masks):
    """Draws an image in which the pixels of object i have the value i + 1: (H, W, 3) uint8.

    Args:
        size: (H, W).
        masks: list of (region (h, w) bool, (y, x)). Objects do not overlap.
    """
    index = np.zeros(size, np.int64)
    for i, (region, (y, x)) in enumerate(masks):
        index[y : y + region.shape[0], x : x + region.shape[1]][region] = i + 1
    return np.stack([index & 255, index >> 8, np.zeros_like(index)], axis=-1).astype(np.uint8)


def ellipse(height, width):
    """Returns an ellipse that fills its window: (height, width) bool."""
    y, x = ((np.arange(n) + 0.5) / n * 2 - 1 for n in (height, width))
    return y[:, None] ** 2 + x[None] ** 2 <= 1


class Finder:
    """A stand-in for a model: finds every value in an image, as far as it is visible.

    Args:
        slots: int. detections_per_image.
        mask_size: int. Cells per side of a mask.
        task: str. "masks" or "boxes".
        label: function of (value, box, (height, width) of the tile) -> label.
        score: function of the same -> score.
        fail_after: int. Tiles after which it raises KeyboardInterrupt.

    Attributes:
        seen: int. Number of tiles.
    """

    path = "finder.onnx"

    def __init__(
        self, slots=100, mask_size=56, task="masks", label=None, score=None, fail_after=None
    ):
        config = MaskRCNNConfig(task=task, detections_per_image=slots, num_classes=3)
        self.config, self._mask_size = config, mask_size
        self._label = label or (lambda value, box, size: 1)
        self._score = score or (lambda value, box, size: 0.9)
        self._fail_after, self.seen = fail_after, 0

    def get_weights(self):
        return [np.ones(3)]

    def predict_on_batch(self, images):
        slots, m = self.config.detections_per_image, self._mask_size
        outputs = {
            "boxes": np.zeros((len(images), slots, 4), np.float32),
            "scores": np.zeros((len(images), slots), np.float32),
            "labels": np.zeros((len(images), slots), np.int32),
            "masks": np.zeros((len(images), slots, m, m), np.float32),
            "num_detections": np.zeros(len(images), np.int32),
        }
        if self.config.task == "boxes":
            del outputs["masks"]
        for row, image in enumerate(images):
            if self.seen == self._fail_after:
                raise KeyboardInterrupt
            self.seen += 1
            index = image[..., 0] + 256 * image[..., 1].astype(int)
            found = []
            for value in np.unique(index[index > 0])[:slots]:
                ys, xs = np.nonzero(index == value)
                box = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], np.float32)
                found.append((self._score(value, box, index.shape), value, box))
            found.sort(key=lambda x: -x[0])
            outputs["num_detections"][row] = len(found)
            for i, (score, value, box) in enumerate(found):
                outputs["boxes"][row, i], outputs["scores"][row, i] = box, score
                outputs["labels"][row, i] = self._label(value, box, index.shape)
                if "masks" in outputs:
                    outputs["masks"][row, i] = mask_ops.crop(index == value, box, m) / 255
        return outputs


def scattered(size, count, low, high, seed=0):
    """Places ellipses at random so that they do not touch: list of (region, (y, x))."""
    rng, free, placed = np.random.default_rng(seed), np.ones(size, bool), []
    for _ in range(100_000):
        if len(placed) == count:
            return placed
        h, w = rng.integers(low, high, 2)
        y, x = rng.integers(0, size[0] - h), rng.integers(0, size[1] - w)
        if free[max(0, y - 2) : y + h + 2, max(0, x - 2) : x + w + 2].all():
            placed.append((ellipse(h, w), (int(y), int(x))))
            free[y : y + h, x : x + w] = False
    raise ValueError(f"{count} objects have no room")


def ious(masks, truth):
    """Returns (n, t) IoU of masks (InstanceMasks) with the true ones, a list as of `scattered`."""
    values = np.zeros((len(masks), len(truth)))
    for i, (a, (ay, ax)) in enumerate(masks.crops()):
        for j, (b, (by, bx)) in enumerate(truth):
            top, left = max(ay, by), max(ax, bx)
            bottom = min(ay + a.shape[0], by + b.shape[0])
            right = min(ax + a.shape[1], bx + b.shape[1])
            if top < bottom and left < right:
                one = a[top - ay : bottom - ay, left - ax : right - ax]
                common = (one & b[top - by : bottom - by, left - bx : right - bx]).sum()
                values[i, j] = common / (a.sum() + b.sum() - common)
    return values


class DeepFinder(Finder):
    """The same for images of five bands of 16 bits, as `deep` makes them."""

    def __init__(self, **options):
        super().__init__(**options)
        config = dataclasses.asdict(self.config) | {"pixel_mean": (), "pixel_std": ()}
        config |= {"in_channels": 5, "image_dtype": "uint16", "pixel_max": 4095}
        self.config = MaskRCNNConfig(**config)

    def predict_on_batch(self, images):
        assert images.dtype == np.uint16 and images.shape[3] == 5
        return super().predict_on_batch(images[..., [3, 4, 0]].astype(np.uint8))


def deep(image):
    """Puts what `draw` has drawn into the last bands of five of 16 bits; two others are noise."""
    noise = np.random.default_rng(0).integers(0, 4096, (*image.shape[:2], 2))
    return np.dstack([image[..., 2], noise, image[..., :2]]).astype(np.uint16)
