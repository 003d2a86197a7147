"""Prediction on images of any size: tile by tile, and each object is reported once.

- `predicting.py`: `predict_large`, which runs the model on all tiles and keeps what it finds.
- `pieces.py`: what the model finds in one tile.
- `ownership.py`: which tile has the say about a piece.
- `joining.py`: which pieces of neighbor tiles are one object, and what is reported for it.
- `finishing.py`: the objects of all tiles.
- `store.py`: the file with the pieces of finished tiles, from which a stopped run goes on.
- `large_detections.py`: the result.
"""

from keras_maskrcnn.tiling.large_detections import LargeDetections
from keras_maskrcnn.tiling.predicting import SEAMS, predict_large

__all__ = ["SEAMS", "LargeDetections", "predict_large"]
