"""From a COCO json and a folder of images to batches."""

from keras_maskrcnn.data.coco import CocoDataset, coco_json
from keras_maskrcnn.data.images import DataError
from keras_maskrcnn.data.pipeline import batches

__all__ = ["CocoDataset", "DataError", "batches", "coco_json"]
