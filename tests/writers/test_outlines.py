import numpy as np
import pytest
import shapely
from pycocotools import mask as mask_api
from written_objects import REGIONS, blob

from keras_maskrcnn.writers.outlines import has_one_ring, joined, outline

NOISE = {f"noise {p}": (np.random.default_rng(1).random((30, 30)) < p, (3, 5)) for p in (0.4, 0.6)}
SHAPES = REGIONS | NOISE


def drawn(polygons, height=90, width=120):
    """Returns the mask that pycocotools makes of polygons."""
    flat = [np.ravel(polygon).tolist() for polygon in polygons]
    return mask_api.decode(mask_api.merge(mask_api.frPyObjects(flat, height, width))) > 0


def whole(region, origin):
    mask = np.zeros((90, 120), bool)
    mask[origin[0] : origin[0] + region.shape[0], origin[1] : origin[1] + region.shape[1]] = region
    return mask


@pytest.mark.parametrize("name", SHAPES)
def test_outlines_are_exact_and_valid(name):
    region, origin = SHAPES[name]
    polygons = [shapely.Polygon(shell, holes) for shell, *holes in outline(region, origin)]
    together = shapely.MultiPolygon(polygons)
    assert together.is_valid
    y, x = np.mgrid[:90, :120] + 0.5
    np.testing.assert_array_equal(
        shapely.contains_xy(together, x, y), whole(region, origin), strict=True
    )
    assert together.area == region.sum()
    assert [p.area for p in polygons] == sorted((p.area for p in polygons), reverse=True)


@pytest.mark.parametrize("name", SHAPES)
def test_one_joined_ring_fills_the_same_pixels(name):
    region, origin = SHAPES[name]
    ring = joined(outline(region, origin))
    np.testing.assert_array_equal(drawn([ring]), whole(region, origin))
    x, y = ring.T
    signed = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    assert signed == region.sum()  # holes turn the other way, for fills by nonzero winding


def test_parts_and_holes_are_counted():
    (region, origin) = REGIONS["parts"]
    assert [len(part) for part in outline(region, origin)] == [2, 1, 1]
    assert [len(part) for part in outline(*REGIONS["diagonal"])] == [1] * 6
    assert has_one_ring(outline(*REGIONS["blob"])) and not has_one_ring(outline(region, origin))
    assert not has_one_ring(outline(*REGIONS["hole"]))


def test_an_empty_mask_has_no_part():
    assert outline(np.zeros((4, 5), bool), (0, 0)) == []
    assert outline(np.zeros((0, 0), bool), (0, 0)) == []


def test_tolerance_leaves_out_corners_and_keeps_the_shape():
    region = blob(60)
    exact, simple = (outline(region, (10, 20), tolerance)[0][0] for tolerance in (0, 1))
    assert len(simple) < len(exact) / 2
    polygon, simpler = shapely.Polygon(exact), shapely.Polygon(simple)
    assert polygon.hausdorff_distance(simpler) <= 1
    assert polygon.intersection(simpler).area / polygon.union(simpler).area > 0.95
    [[tiny]] = outline(np.ones((1, 1), bool), (2, 3), 1)
    assert shapely.Polygon(tiny).area == 1
