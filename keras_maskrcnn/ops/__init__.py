"""Pure functions on boxes, anchors, images and masks, without weights or config."""

from keras_maskrcnn.ops import anchors, boxes, images, masks, rle

__all__ = ["anchors", "boxes", "images", "masks", "rle"]
