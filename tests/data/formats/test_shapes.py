"""data/formats/shapes.py: shapes of annotation tools as polygons."""

import math

import numpy as np
import pytest

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.formats.shapes import ellipse, numbers, rectangle


def area(polygon):
    x, y = np.reshape(polygon, [-1, 2]).T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_a_rectangle_has_four_corners():
    assert rectangle(1, 2, 5, 9) == [1, 2, 5, 2, 5, 9, 1, 9]


def test_an_ellipse_has_its_area_and_turns_from_x_towards_y():
    polygon = ellipse(15, 10, 9, 4, angle=math.pi / 2)
    assert area(polygon) == pytest.approx(math.pi * 9 * 4, rel=1e-3)
    assert polygon[:2] == pytest.approx([15, 19])
    assert np.reshape(polygon, [-1, 2]).max(axis=0) == pytest.approx([19, 19])


@pytest.mark.parametrize("value", [None, "3", math.nan, 1e9])
def test_what_is_no_number_of_a_reasonable_size_is_refused(value):
    assert numbers({"x": 1, "y": 2.5}, ("y", "x"), "a") == [2.5, 1]
    with pytest.raises(DataError, match="^a.json: x must be a number. Received: x="):
        numbers({"x": value}, ("x",), "a.json")
