"""A small picture with three objects, which several tests show."""

import numpy as np

from keras_maskrcnn.instance_masks import InstanceMasks

NAMES = ("cell", "<b>gap</b><script>alert(1)</script>")


def picture(height=300, width=400):
    """(height, width, 3) uint8, gray."""
    return np.full((height, width, 3), 120, np.uint8)


def found(height=300, width=400):
    """A square, a ring of the second class around a hole, and a square with a low score."""
    ring = np.ones((80, 80), bool)
    ring[20:60, 20:60] = False
    crops = [np.ones((40, 60), bool), ring, np.ones((10, 10), bool)]
    return {
        "boxes": np.array([(50, 30, 110, 70), (200, 100, 280, 180), (20, 250, 30, 260)], float),
        "scores": np.array([0.9, 0.75, 0.3]),
        "labels": np.array([1, 2, 1]),
        "masks": InstanceMasks(crops, [(30, 50), (100, 200), (250, 20)], (height, width)),
        "class_names": NAMES,
    }
