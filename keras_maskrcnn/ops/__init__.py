"""Pure functions on boxes, anchors, images and masks, without weights or config."""

from typing import TYPE_CHECKING

from keras_maskrcnn.on_demand import names_on_demand

if TYPE_CHECKING:
    from keras_maskrcnn.ops import anchors, boxes, images, masks, rle

__all__ = ["anchors", "boxes", "images", "masks", "rle"]
__getattr__, __dir__ = names_on_demand(__name__, {})
