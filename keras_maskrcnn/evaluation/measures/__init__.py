"""More measures of COCO results than COCO's: one file each, with its source (docs/measures.md).

Each takes results, annotations and options, and returns a dict of numbers. `measure` computes
several by their short names, as `evaluate(..., measures=[...])` and `evaluate --measures` do.
"""

from keras_maskrcnn.evaluation.measures.boundary import boundary_ap
from keras_maskrcnn.evaluation.measures.cell_tracking import seg_score
from keras_maskrcnn.evaluation.measures.counting import counting_error
from keras_maskrcnn.evaluation.measures.dsb import dsb_score
from keras_maskrcnn.evaluation.measures.federated import lvis_ap
from keras_maskrcnn.evaluation.measures.mask_fit import mask_quality
from keras_maskrcnn.evaluation.measures.named import MEASURES, measure
from keras_maskrcnn.evaluation.measures.panoptic import panoptic_quality

__all__ = [
    "MEASURES",
    "boundary_ap",
    "counting_error",
    "dsb_score",
    "lvis_ap",
    "mask_quality",
    "measure",
    "panoptic_quality",
    "seg_score",
]
