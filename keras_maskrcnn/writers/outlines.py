"""Outlines of masks along the edges of pixels, as polygons with holes and several parts.

GEOS (by shapely) makes the rings. Its answer is exact: filling it gives the mask again, also for
one pixel, for parts of one pixel's width, and for pixels that touch at a corner only. Contours of
OpenCV run through the centers of pixels, so masks of a few pixels lose most of their area, and
those of scikit-image cut all corners. rasterio's are exact too, but it takes 15 times the space.
"""

from typing import Any

import numpy as np

from keras_maskrcnn.instance_masks import trimmed

Ring = np.ndarray
"""(k, 2) int64 [x, y] in pixels; corners of a ring without repeating the first."""
Part = list[Ring]
"""The outer ring of a part, then the rings of its holes."""

_MAX_CHANGE = 0.1  # share of a part's area; without it, one pixel would become half a pixel


def outline(region: np.ndarray, origin: tuple[int, int], tolerance: float = 0.0) -> list[Part]:
    """Returns the parts of a mask, each with its holes, by falling area.

    Parts are pixels that are connected by their sides. The polygons are valid in the sense of OGC.
    Outer rings turn from x to y (counterclockwise if y points up), and holes the other way.

    Args:
        region: (h, w) bool. The mask inside its window.
        origin: (y, x) ints. The window's upper left pixel in the image.
        tolerance: float. Largest distance in pixels by which a simplified outline may move from the
            exact one. 0 keeps all corners. So does a part of which more than a tenth would change.

    Returns:
        list of parts; empty if the mask is.
    """
    import shapely

    polygons = _polygons(region, origin)
    if tolerance > 0:
        simple = shapely.simplify(polygons, tolerance)
        changed = shapely.area(shapely.symmetric_difference(polygons, simple))
        polygons = np.where(changed > _MAX_CHANGE * shapely.area(polygons), polygons, simple)
    if len(polygons) > 1:
        polygons = polygons[np.argsort(-shapely.area(polygons), kind="stable")]
    return [_rings(polygon) for polygon in polygons]


def _polygons(region: np.ndarray, origin: tuple[int, int]) -> Any:
    """Returns an array of shapely polygons, one per part of the mask."""
    import shapely

    region, (top, left) = trimmed(region, origin)
    padded = np.pad(region, 1)
    across = padded[1:, 1:-1] != padded[:-1, 1:-1]  # sides between a pixel and the one above
    down = (padded[1:-1, 1:] != padded[1:-1, :-1]).T  # ... and the one to the left
    # Where two pixels of the mask touch at a corner, four sides meet, and lines must end.
    equal = padded[1:, 1:] == padded[:-1, :-1]
    crossings = equal & (padded[1:, :-1] == padded[:-1, 1:]) & (padded[1:, 1:] != padded[1:, :-1])
    y, x1, x2 = _runs(across, crossings)
    x, y1, y2 = _runs(down, crossings.T)
    ends = np.empty((len(y) + len(x), 2, 2))
    ends[: len(y), 0, 0], ends[: len(y), 1, 0], ends[: len(y), :, 1] = x1, x2, y[:, None]
    ends[len(y) :, 0, 1], ends[len(y) :, 1, 1], ends[len(y) :, :, 0] = y1, y2, x[:, None]
    faces = shapely.get_parts(shapely.polygonize(shapely.linestrings(ends + [left, top])))
    if len(faces) < 2:
        return faces
    # Holes are faces, too. The pixel beside a face's first side tells whether it is a hole.
    rings = shapely.get_exterior_ring(faces)
    corners, owner = shapely.get_coordinates(rings, return_index=True)
    first = np.searchsorted(owner, np.arange(len(faces)))
    step = np.sign(corners[first + 1] - corners[first])
    inward = np.stack([-step[:, 1], step[:, 0]], 1)
    inward[~shapely.is_ccw(rings)] *= -1
    pixel = np.floor(corners[first] + (step + inward) / 2).astype(int) - [left, top]
    return faces[region[pixel[:, 1], pixel[:, 0]]]


def _runs(sides, crossings):
    """Returns (row, begin, end) of the runs of pixel sides along the rows, cut at crossings."""
    begins, ends = sides.copy(), sides.copy()
    joined = sides[:, 1:] & sides[:, :-1] & ~crossings[:, 1:-1]
    begins[:, 1:] &= ~joined
    ends[:, :-1] &= ~joined
    row, begin = np.nonzero(begins)
    return row, begin, np.nonzero(ends)[1] + 1


def _rings(polygon):
    import shapely

    rings = shapely.get_rings(polygon)
    forward = shapely.is_ccw(rings)
    forward[1:] = ~forward[1:]
    corners, owner = shapely.get_coordinates(rings, return_index=True)
    corners = np.split(corners.astype(np.int64), np.flatnonzero(np.diff(owner)) + 1)
    return [r[:-1] if as_is else r[:0:-1] for r, as_is in zip(corners, forward, strict=True)]


def has_one_ring(parts: list[Part]) -> bool:
    """Returns whether a mask is one part without a hole."""
    return len(parts) == 1 and len(parts[0]) == 1


def joined(parts: list[Part]) -> Ring:
    """Returns one ring of all parts and holes, for formats with one polygon per object.

    Short lines there and back connect the rings: a line that is drawn twice has no area.
    Ultralytics' converters join parts in the same way.

    Returns:
        (k, 2) int64 [x, y]. Programs that fill it get the mask, by the even-odd rule and by the
            rule of nonzero winding.
    """
    path, *others = [ring for part in parts for ring in part]
    for ring in others:
        i = _nearest(path, ring[0])
        j = _nearest(ring, path[i])
        i = _nearest(path, ring[j])
        path = np.concatenate([path[: i + 1], ring[j:], ring[: j + 1], path[i:]])
    return path


def _nearest(corners, point):
    return int(np.abs(corners - point).sum(1).argmin())
