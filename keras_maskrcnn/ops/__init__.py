"""Pure functions on boxes, anchors, images and masks: no weights, no config."""

from keras_maskrcnn.ops import anchors, boxes, images, masks, rle

__all__ = ["anchors", "boxes", "images", "masks", "rle"]
