"""The RoI operations in NumPy, box by box and point by point, directly from their definitions."""

import math

import numpy as np


def quantized(box, stride):
    """Returns RoIPool's cells [x1, y1, x2, y2] of a box in pixels, with x2 and y2 exclusive."""
    x1, y1, x2, y2 = (int(math.copysign(math.floor(abs(v) / stride + 0.5), v)) for v in box)
    return [x1, y1, x1 + max(x2 - x1 + 1, 1), y1 + max(y2 - y1 + 1, 1)]


def pool_bins(shape, box, stride, bins):
    """Yields RoIPool's bins on a map of `shape`: (row, column), and the slices of their cells."""
    x1, y1, x2, y2 = quantized(box, stride)

    def side(start, extent, limit, i):
        first, last = math.floor(i * extent / bins), math.ceil((i + 1) * extent / bins)
        return slice(*(min(max(start + v, 0), limit) for v in (first, last)))

    for i in range(bins):
        for j in range(bins):
            yield (i, j), (side(y1, y2 - y1, shape[0], i), side(x1, x2 - x1, shape[1], j))


def roi_pool(features, box, stride, bins):
    """Applies RoIPool to a map (H, W, K): returns (bins, bins, K)."""
    pooled = np.zeros((bins, bins, features.shape[-1]), features.dtype)
    for at, cells in pool_bins(features.shape, box, stride, bins):
        if features[cells].size:
            pooled[at] = features[cells].max(axis=(0, 1))
    return pooled


def point(features, y, x):
    """Interpolates a map (H, W, K) with value i at i + 0.5; 0 more than a cell outside of it."""
    y, x = y - 0.5, x - 0.5
    height, width = features.shape[:2]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(features.shape[-1])
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    below, beside = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * features[top, left] + dx * features[top, beside]
    lower = (1 - dx) * features[below, left] + dx * features[below, beside]
    return (1 - dy) * upper + dy * lower


def bin_points(features, cells, bins, ratio):
    """Returns ratio x ratio points per bin of a box in cells: (bins, bins, ratio**2, K)."""
    x1, y1, x2, y2 = cells
    part = (np.arange(bins * ratio) + 0.5) / (bins * ratio)
    rows, columns = y1 + part * (y2 - y1), x1 + part * (x2 - x1)
    points = np.array([[point(features, y, x) for x in columns] for y in rows])
    points = points.reshape(bins, ratio, bins, ratio, -1).transpose(0, 2, 1, 3, 4)
    return points.reshape(bins, bins, ratio**2, -1)


def differences(pool, features, step):
    """Computes the gradient of a function by central differences, in one batch.

    Args:
        pool: function from maps (B, H, W, 1) to (B,). Each value depends on its map only.
        features: (H, W) float32.
        step: float.

    Returns:
        (H, W) float64.
    """
    bumps = step * np.eye(features.size, dtype=np.float32).reshape(-1, *features.shape)
    above, below = (np.float64(pool((features + b)[..., None])) for b in (bumps, -bumps))
    return ((above - below) / (2 * step)).reshape(features.shape)
