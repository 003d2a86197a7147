"""Objects of every kind for the writers, and what reading them back must give."""

import numpy as np

from keras_maskrcnn.instance_masks import InstanceMasks, trimmed
from keras_maskrcnn.writers import ImageRecord

SIZE = 90, 120
CLASSES = ("cell", 'a "b" & <c>, Zelle ü')
IDS = (3, 7)


def blob(side, seed=0):
    """A round shape with bays."""
    turn = np.random.default_rng(seed).uniform(0, 6)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.arctan2(y, x)
    return np.hypot(y, x) <= side / 2 * (0.8 + 0.15 * np.sin(3 * angle + turn))


def ring(side):
    region = blob(side)
    middle = slice(side // 2 - 2, side // 2 + 3)
    region[middle, middle] = False
    return region


def parts():
    """Two shapes and a pixel apart; one shape has a hole."""
    region = np.zeros((20, 40), bool)
    region[:20, :20], region[5:15, 24:34], region[19, 39] = ring(20), blob(10), True
    return region


# name -> (region, (y, x)) inside an image of SIZE.
REGIONS = {
    "blob": (blob(30), (4, 3)),
    "hole": (ring(24), (40, 50)),
    "parts": (parts(), (65, 5)),
    "two holes": (np.pad(np.tile(~np.pad(np.ones((1, 1), bool), 2), (1, 2)), 1) > 0, (2, 60)),
    "pixel": (np.ones((1, 1), bool), (30, 110)),
    "line": (np.ones((1, 17), bool), (36, 90)),
    "diagonal": (np.eye(6, dtype=bool), (45, 100)),
    "touching corner hole": (np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0]], bool), (60, 100)),
    "upper left": (blob(9)[3:, 4:], (0, 0)),
    "lower right": (blob(16)[:9, :11], (SIZE[0] - 9, SIZE[1] - 11)),
    "whole row": (np.ones((2, SIZE[1]), bool), (SIZE[0] - 40, 0)),
}
WITHOUT_OVERLAP = [name for name in REGIONS if name != "whole row"]


def found(names=tuple(REGIONS), size=SIZE):
    """Returns detections of the named objects, by falling score; classes alternate."""
    masks = InstanceMasks(
        [REGIONS[name][0] for name in names], [REGIONS[name][1] for name in names], size
    )
    tight = [trimmed(*REGIONS[name]) for name in names]
    boxes = [[x, y, x + crop.shape[1], y + crop.shape[0]] for crop, (y, x) in tight]
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.linspace(0.95, 0.35, len(names), dtype=np.float32),
        "labels": np.arange(len(names), dtype=np.int32) % 2 + 1,
        "masks": masks,
        "class_names": CLASSES,
    }


def record(file_name="a.png", size=SIZE, **values):
    return ImageRecord(file_name, *size, **values)


def iou(a, b):
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    return (a & b).sum() / (a | b).sum()
