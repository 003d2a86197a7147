import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_maskrcnn.visualize import labels


@pytest.mark.parametrize(
    ("scores", "most", "expected"),
    [
        (None, 2, [1, 0]),  # the largest, of which the smaller comes first
        ([0.1, 0.9, 0.5], 2, [2, 1]),
        ([0.1, 0.9, 0.5], 3, [2, 1, 0]),
        ([0.1, 0.9, 0.5], 0, []),
    ],
)
def test_the_best_get_a_label_and_without_scores_the_largest(scores, most, expected):
    scores = None if scores is None else np.array(scores)
    assert labels.labeled(np.array([0, 1, 2]), scores, most) == expected


def test_a_class_without_a_name_is_a_number():
    assert labels.text_of(2, ["cat", "dog"], 0.256) == "dog 0.26"
    assert labels.text_of(3, ["cat", "dog"], None) == "3"


def test_a_label_without_room_is_left_out_if_it_needs_room():
    canvas = Image.new("RGB", (200, 40))
    pen, font = ImageDraw.Draw(canvas), labels.font_of(10)
    width, height = labels.text_size(font, "a long label over the picture")
    assert width > 100 and 10 < height < 40
    placed = []
    for need_room in (True, True, False):
        box, color = np.array([0, 0, 200, 40]), np.array([230, 159, 0], np.uint8)
        text = "a long label over the picture"
        labels.draw_label(pen, text, box, color, font, placed, need_room)
    assert [corner.tolist() for corner, _ in placed] == [[0, 0], [0, 40 - height - 4], [0, 0]]
