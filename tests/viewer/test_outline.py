import numpy as np
import pytest

from keras_maskrcnn.viewer.outline import outlines


def filled(rings, height, width):
    """Fills lines by the even-odd rule: a pixel is inside if vertical edges to its left are odd."""
    edges = np.zeros((height + 1, width + 1), bool)
    for ring in rings:
        for (x, y0), (_, y1) in zip(ring[1::2], np.roll(ring, -1, 0)[1::2], strict=True):
            edges[min(y0, y1) : max(y0, y1), x] ^= True
    return np.logical_xor.accumulate(edges, axis=1)[:-1, :-1]


def test_a_rectangle_is_a_line_of_four_corners():
    (ring,) = outlines(np.ones((2, 3), bool))
    np.testing.assert_array_equal(ring, [(0, 0), (3, 0), (3, 2), (0, 2)])


def test_a_hole_has_a_line_of_its_own():
    region = np.ones((3, 3), bool)
    region[1, 1] = False
    outer, hole = outlines(region)
    np.testing.assert_array_equal(outer, [(0, 0), (3, 0), (3, 3), (0, 3)])
    np.testing.assert_array_equal(hole, [(1, 1), (2, 1), (2, 2), (1, 2)])


def test_an_empty_region_has_no_line():
    assert outlines(np.zeros((2, 3), bool)) == [] and outlines(np.zeros((0, 0), bool)) == []


@pytest.mark.parametrize("seed", range(50))
def test_lines_give_the_region_again(seed):
    """Random regions have holes, parts and pixels that touch at corners."""
    generator = np.random.default_rng(seed)
    region = generator.random(generator.integers(1, 12, 2)) < generator.uniform(0.2, 0.8)
    rings = outlines(region)
    for ring in rings:
        moves = np.roll(ring, -1, 0) - ring
        assert not moves[::2, 1].any() and not moves[1::2, 0].any()
        assert moves.any(1).all()
    np.testing.assert_array_equal(filled(rings, *region.shape), region)
