"""The dataset doctor: what is wrong with a COCO json and its images, and a repaired copy."""

from keras_maskrcnn.doctor.anchors import anchor_overlaps
from keras_maskrcnn.doctor.examination import DROPPED_KINDS, ERROR, Examination, examine
from keras_maskrcnn.doctor.repairs import repair
from keras_maskrcnn.doctor.report import page, text

__all__ = [
    "DROPPED_KINDS",
    "ERROR",
    "Examination",
    "anchor_overlaps",
    "examine",
    "page",
    "repair",
    "text",
]
