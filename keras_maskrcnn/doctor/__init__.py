"""The dataset doctor: finds faults in a COCO json and its images, and makes a repaired copy."""

from keras_maskrcnn.doctor.anchor_fit import anchor_overlaps
from keras_maskrcnn.doctor.examination import examine
from keras_maskrcnn.doctor.findings import ERROR, Examination
from keras_maskrcnn.doctor.lenient_reading import DROPPED_KINDS
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
