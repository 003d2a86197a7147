"""From a COCO json and a folder of images to batches."""

from keras_maskrcnn.data.coco import CocoDataset, coco_dict, coco_json
from keras_maskrcnn.data.images import DataError
from keras_maskrcnn.data.pipeline import batches
from keras_maskrcnn.data.proposals import ProposalFile, ProposalWriter, read_proposals

__all__ = [
    "CocoDataset",
    "DataError",
    "ProposalFile",
    "ProposalWriter",
    "batches",
    "coco_dict",
    "coco_json",
    "read_proposals",
]
