"""Outlines of masks along the edges of pixels, for drawing."""

import numpy as np


def outlines(region: np.ndarray) -> list[np.ndarray]:
    """Finds the closed lines between the pixels of a region and all others.

    Filled by the even-odd rule, they give exactly the region. Holes and parts each have their own
    line. Of two pixels that only touch at a corner, it is not said whether they share one.

    Args:
        region: (h, w) bool.

    Returns:
        list of (k, 2) int64 [x, y]: corners of pixels, from 0 to w and 0 to h. The first move is
            horizontal, the next one vertical, and so on. The last corner joins the first.
    """
    padded = np.zeros((region.shape[0] + 2, region.shape[1] + 2), bool)  # np.pad is slow
    padded[1:-1, 1:-1] = region
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    # A line turns where one pixel differs from the other three, and twice where diagonals differ.
    turns = (nw ^ ne ^ sw ^ se) + 2 * ((nw == se) & (ne == sw) & (nw != ne))
    y, x = np.nonzero(turns)
    times = turns[y, x]
    y, x = np.repeat(y, times), np.repeat(x, times)
    # In a row, corners 0 and 1 are the ends of one edge, 2 and 3 of the next; so in each column.
    down = np.argsort(x, kind="stable")
    below = np.empty_like(down)
    below[down[::2]], below[down[1::2]] = down[1::2], down[::2]
    other_end, open_corners, rings = below.tolist(), [True] * len(x), []
    for start in range(0, len(x), 2):
        if not open_corners[start]:
            continue
        ring: list[int] = []
        corner = start
        while open_corners[corner]:
            ring += (corner, corner ^ 1)
            open_corners[corner] = open_corners[corner ^ 1] = False
            corner = other_end[corner ^ 1]
        rings.append(np.stack([x[ring], y[ring]], axis=1))
    return rings
