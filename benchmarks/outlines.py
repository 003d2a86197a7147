"""Compares libraries that draw outlines of masks: CPU time per object, and the area of one pixel.

    pip install opencv-python-headless rasterio scikit-image && python benchmarks/outlines.py

Libraries that are not installed are left out. docs/outputs.md has the table.
"""

import contextlib
import time

import numpy as np
import shapely
from writers import drawn_shape

from keras_maskrcnn.writers.outlines import outline

OBJECTS, ROUNDS = 60, 5


def ours(mask):
    return shapely.MultiPolygon([(shell, holes) for shell, *holes in outline(mask, (0, 0))])


def methods():
    """Yields (name, function from a mask to outlines, function from these to the area)."""
    yield "shapely", lambda mask: outline(mask, (0, 0)), None
    with contextlib.suppress(ImportError):
        import rasterio.features

        yield (
            "rasterio",
            lambda mask: list(rasterio.features.shapes(mask.astype(np.uint8), mask=mask)),
            lambda found: sum(shapely.geometry.shape(shape).area for shape, _ in found),
        )
    with contextlib.suppress(ImportError):
        import cv2

        def contours(mask):
            return cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[
                0
            ]

        def doubled(mask):
            # Sample 2 k is the left half of pixel k, and 2 k + 1 the right one.
            twice = np.repeat(np.repeat(mask, 2, axis=0), 2, axis=1)
            return [(contour + 1) // 2 for contour in contours(twice)]

        yield "OpenCV", contours, lambda found: sum(map(cv2.contourArea, found))
        yield "OpenCV, doubled", doubled, lambda found: sum(map(cv2.contourArea, found))
    with contextlib.suppress(ImportError):
        from skimage.measure import find_contours

        yield (
            "scikit-image",
            lambda mask: find_contours(np.pad(mask, 1).astype(float), 0.5),
            lambda found: sum(shapely.Polygon(ring).area for ring in found),
        )


def main():
    print("| Library | 24 px, ms | 64 px, ms | Area of one pixel |")
    print("| --- | --- | --- | --- |")
    pixel = np.ones((1, 1), bool)
    for name, draw, area in methods():
        cells = []
        for side in (24, 64):
            masks = [drawn_shape(i, side) for i in range(OBJECTS)]
            draw(masks[0])
            best = np.inf
            for _ in range(ROUNDS):
                start = time.process_time()
                for mask in masks:
                    draw(mask)
                best = min(best, time.process_time() - start)
            cells.append(f"{1000 * best / OBJECTS:.3f}")
        cells.append(f"{ours(pixel).area if area is None else area(draw(pixel)):.1f}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
