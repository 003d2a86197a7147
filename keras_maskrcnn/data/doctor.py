"""The old place of `keras_maskrcnn.doctor`."""

from keras_maskrcnn.aliases import moved

_NAMES = (
    "DROPPED_KINDS",
    "ERROR",
    "Examination",
    "anchor_overlaps",
    "examine",
    "page",
    "repair",
    "text",
)
__getattr__ = moved(__name__, {name: f"keras_maskrcnn.doctor:{name}" for name in _NAMES})
