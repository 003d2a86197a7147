"""What the model finds in one tile, in pixels of the whole image."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from keras_maskrcnn.instance_masks import InstanceMasks, trimmed
from keras_maskrcnn.typing import Size

_CELLS = 28  # a mask cannot tell its end better than one of its cells
_NEAR = 2  # pixels


@dataclasses.dataclass(frozen=True)
class Pieces:
    """n objects, or parts of objects, that the model found in one tile.

    Args:
        boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of the image.
        scores: (n,) float32.
        labels: (n,) int32 from 1.
        cut: (n,) bool. Whether the piece touches a border of the tile inside the image, so that the
            object may go on behind it.
        masks: InstanceMasks of the image. Each has at least one pixel. Of a model without masks
            they are the filled boxes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    cut: np.ndarray
    masks: InstanceMasks

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, indices: np.ndarray) -> Self:
        """Returns some of the pieces, as indexing of an array does."""
        fields = {
            field.name: getattr(self, field.name)[indices] for field in dataclasses.fields(self)
        }
        return type(self)(**fields)

    def extents(self) -> np.ndarray:
        """Returns (n, 4) int64 [top, left, bottom, right]: the pixels from top to bottom - 1."""
        corners = [
            (y, x, y + crop.shape[0], x + crop.shape[1]) for crop, (y, x) in self.masks.crops()
        ]
        return np.array(corners, np.int64).reshape(-1, 4)


def pieces_of_tile(
    outputs: Mapping[str, np.ndarray],
    row: int,
    seen: Size,
    window: Sequence[int],
    size: Size,
    score_threshold: float,
    mask_paste: str,
) -> Pieces:
    """Converts the model's outputs for one tile.

    Args:
        outputs: dict of the outputs of `MaskRCNN` for a batch of tiles.
        row: int. The tile's place in the batch.
        seen: (height, width) of the tile as the model got it; boxes are in its pixels.
        window: [top, left, height, width] of the tile in the image.
        size: (H, W) of the image.
        score_threshold: float. Detections with a lower score are left out.
        mask_paste: str. As in `ops.masks.paste`.
    """
    top, left, height, width = map(int, window)
    kept = np.arange(int(outputs["num_detections"][row]))
    kept = kept[np.asarray(outputs["scores"][row])[kept] >= score_threshold]
    scale = np.array([width / seen[1], height / seen[0]] * 2, np.float32)
    boxes = np.asarray(outputs["boxes"][row])[kept] * scale
    if "masks" in outputs:
        small = np.asarray(outputs["masks"][row])[kept]
        pasted = InstanceMasks.paste(small, boxes, (height, width), mask_paste).crops()
    else:
        pasted = map(_filled, boxes)
    crops = [trimmed(*crop) for crop in pasted]
    some = np.array([crop.size > 0 for crop, _ in crops], bool)
    masks = InstanceMasks(
        [crop for crop, _ in crops if crop.size],
        [(y + top, x + left) for crop, (y, x) in crops if crop.size],
        size,
    )
    pieces = Pieces(
        boxes[some] + np.array([left, top] * 2, np.float32),
        np.asarray(outputs["scores"][row])[kept][some],
        np.asarray(outputs["labels"][row])[kept][some],
        np.zeros(len(masks), bool),
        masks,
    )
    return dataclasses.replace(pieces, cut=_touches(pieces.extents(), window, size))


def depth(extents: np.ndarray, window: Sequence[int] | np.ndarray, size: Size) -> np.ndarray:
    """Returns how far each piece is from the borders of its tile that lie inside the image.

    Args:
        extents: (n, 4) int [top, left, bottom, right].
        window: [top, left, height, width] of the tile; or (n, 4), that of each piece.
        size: (H, W) of the image.

    Returns:
        (n, 4) float. Pixels to the border above, on the left, below and on the right; infinite
            where the tile ends at the border of the image.
    """
    top, left, height, width = np.moveaxis(np.asarray(window), -1, 0)
    ends = np.stack([top, left, top + height, left + width], axis=-1)
    distances = (extents - ends) * np.array([1.0, 1, -1, -1])
    return np.where(ends == [0, 0, *size], np.inf, distances)


def _touches(extents, window, size):
    """Returns (n,) bool: whether a piece reaches a border of its tile inside the image."""
    sides = np.tile(extents[:, 2:] - extents[:, :2], 2)
    return (depth(extents, window, size) <= np.maximum(_NEAR, sides / _CELLS)).any(axis=1)


def _filled(box):
    """Returns a box as a mask: (h, w) bool and its (y, x). It has at least one pixel."""
    x1, y1 = np.maximum(np.floor(box[:2]), 0).astype(int).tolist()
    x2, y2 = np.ceil(box[2:]).astype(int).tolist()
    return np.ones((max(1, y2 - y1), max(1, x2 - x1)), bool), (y1, x1)
