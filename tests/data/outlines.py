"""Random outlines, regular and irregular ones."""

import numpy as np

from keras_maskrcnn.data.polygons import compact


def shapes(rng, count, height, width):
    """Draws outlines of one or two parts: convex or not, self-crossing or not, on pixels or not."""
    outlines = []
    for _ in range(count):
        outline = []
        for _ in range(rng.integers(1, 3)):
            spread, corners = rng.uniform(0.3, 20), rng.integers(3, 14)
            points = rng.uniform(0, 1, 2) * [width, height] + rng.normal(0, spread, (corners, 2))
            points = np.clip(points, 0, [width, height])
            for grid in (1, 5):
                if rng.random() < 0.3:
                    points = np.round(points * grid) / grid
            outline.append(compact(points.ravel().tolist()))
        outlines.append(outline)
    return outlines


def extent(outline):
    points = np.concatenate([np.array(part).reshape(-1, 2) for part in outline])
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
