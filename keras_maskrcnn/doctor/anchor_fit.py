"""Measures how well the anchors of a model fit the objects of a data set."""

from collections.abc import Iterable, Sequence

import numpy as np

from keras_maskrcnn.ops import anchors as anchor_ops
from keras_maskrcnn.ops import images as image_ops


def anchor_overlaps(
    boxes: np.ndarray,
    sizes: np.ndarray,
    *,
    min_side: int,
    max_side: int,
    resize_rule: str,
    padding_multiple: int,
    strides: Iterable[int],
    anchor_sizes: Iterable[Sequence[float]],
    anchor_ratios: Sequence[float],
    anchor_rule: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes boxes with their images, and finds the best IoU of each box with an anchor.

    Among anchors of one shape, the anchor with the nearest center overlaps most, separately in x
    and y. So the best IoU is found exactly without building all anchors; a set of COCO's size would
    have about 10^11 pairs. The shapes come from `ops.anchors`, and a test compares the places. A
    batch may be padded to more than `padding_multiple`; this adds only anchors outside the image.

    Args:
        boxes: (N, 4) float [x1, y1, x2, y2] in pixels of the original image.
        sizes: (N, 2) int. Height and width of each box's image.
        min_side, max_side, resize_rule: as in `ops.images.resized_size`.
        padding_multiple: int. Sides of padded images are multiples of it.
        strides, anchor_sizes: for each map of the RPN, its stride and a sequence of anchor sizes.
        anchor_ratios: sequence of float. Height over width.
        anchor_rule: "detectron2", "torchvision" or "matterport".

    Returns:
        resized: (N, 4) float64. The boxes in pixels of the resized image.
        overlaps: (N,) float64 in [0, 1]. The best IoU of each box.
    """
    sizes = np.asarray(sizes, np.int64).reshape(-1, 2)
    resized_size = image_ops.resized_size(sizes[:, 0], sizes[:, 1], min_side, max_side, resize_rule)
    new_sizes = np.stack([np.asarray(side, np.int64) for side in resized_size], axis=1)
    scale = (new_sizes / sizes)[:, [1, 0, 1, 0]]
    resized = np.asarray(boxes, float).reshape(-1, 4) * scale
    far = float(anchor_rule == "matterport")  # its boxes and anchors include their last pixel
    low, high = resized[:, :2], np.maximum(resized[:, 2:] - far, resized[:, :2])
    areas = (high - low).prod(axis=1)
    canvas = -(-new_sizes[:, ::-1] // padding_multiple) * padding_multiple  # x before y
    overlaps = np.zeros(len(resized))
    for stride, level_sizes in zip(strides, anchor_sizes, strict=True):
        cells = -(-canvas // stride)
        steps = canvas // cells if anchor_rule == "torchvision" else np.full_like(cells, stride)
        rounded = anchor_rule == "torchvision"
        for anchor in anchor_ops.cell_anchors(level_sizes, anchor_ratios, rounded).astype(float):
            anchor[2:] -= far
            distance = (low + high) / 2 - (anchor[:2] + anchor[2:]) / 2
            shifts = np.clip(np.rint(distance / steps), 0, cells - 1) * steps
            sides = np.minimum(high, anchor[2:] + shifts) - np.maximum(low, anchor[:2] + shifts)
            inside = np.maximum(sides, 0).prod(axis=1)
            union = areas + (anchor[2:] - anchor[:2]).prod() - inside
            overlaps = np.maximum(overlaps, inside / union)
    return resized, overlaps
