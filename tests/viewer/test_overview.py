import numpy as np
import pytest
from pictures import found, picture

from keras_maskrcnn import visualize
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer import draw_overview

ORANGE, BLUE = visualize.PALETTE[:2]


def close(pixel, color):
    return np.abs(pixel.astype(int) - color).max() <= 3


def test_outlines_have_the_colors_of_their_classes():
    drawn = draw_overview(picture(), found(), legend=False)
    assert drawn.shape == (300, 400, 3) and drawn.dtype == np.uint8
    assert close(drawn[29:32, 80].max(0), np.maximum(ORANGE, 120))  # the square's upper side
    assert (drawn[100, 240] != 120).any() and (drawn[120, 240] != 120).any()  # ring and its hole
    assert drawn[100, 240, 2] > drawn[100, 240, 0]  # blue
    untouched = drawn[(40, 140, 110, 255, 5), (80, 240, 240, 25, 5)]  # inside, hole, low score
    np.testing.assert_array_equal(untouched, np.full((5, 3), 120))


def test_a_low_threshold_shows_more():
    drawn = draw_overview(picture(), found(), score_threshold=0.2, legend=False)
    assert (drawn[250, 25] != 120).any()


def test_boxes_are_drawn_where_there_are_no_masks():
    boxes = {key: value for key, value in found().items() if key != "masks"}
    drawn = draw_overview(picture(), boxes, legend=False)
    assert (drawn[100, 240] != 120).any() and (drawn[120, 240] == 120).all()


def test_a_large_image_becomes_small_with_outlines_in_place():
    pixels = np.zeros((3000, 6000, 3), np.uint8)
    pixels[:, 3000:] = 200
    objects = {"boxes": [(2000, 1000, 4000, 2000)], "labels": [1], "class_names": ["field"]}
    drawn = draw_overview(pixels, objects, max_side=600, legend=False)
    assert drawn.shape == (300, 600, 3)
    assert drawn[50, 100].tolist() == [0, 0, 0] and drawn[50, 500].tolist() == [200, 200, 200]
    assert drawn[150, 250].tolist() == [0, 0, 0]  # inside the box
    for y, x in ((100, 300), (199, 300), (150, 200), (150, 399)):
        assert drawn[y - 1 : y + 2, x - 1 : x + 2, 0].max() >= 200
        assert (drawn[y - 1 : y + 2, x - 1 : x + 2] % 200).any()


def test_the_legend_counts_the_classes(monkeypatch):
    shown = {}
    monkeypatch.setattr(visualize, "legend", lambda drawn, entries: shown.update(entries) or drawn)
    draw_overview(picture(), found(), score_threshold=0)
    assert list(shown) == ["cell (2)", "<b>gap</b><script>alert(1)</script> (1)"]
    np.testing.assert_array_equal(list(shown.values()), [ORANGE, BLUE])
    shown.clear()
    many = {"boxes": np.tile([0, 0, 5, 5], (26, 1)), "labels": [*range(1, 26), 1]}
    draw_overview(picture(), many)
    assert len(shown) == 21 and list(shown)[0] == "1 (2)" and list(shown)[-1] == "others (5)"


def test_nothing_found():
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "scores": np.zeros(0)}
    np.testing.assert_array_equal(draw_overview(picture(), nothing), picture())


@pytest.mark.parametrize(
    ("option", "value"), [("max_side", 0), ("max_side", 10.5), ("score_threshold", 50)]
)
def test_bad_options_are_named(option, value):
    with pytest.raises(ValueError, match=f"Received: {option}={value}"):
        draw_overview(picture(), found(), **{option: value})


def test_a_source_stays_usable_by_its_owner():
    with open_source(picture()) as source:
        draw_overview(source, found())
        assert source.read(0, 0, 1, 1).tolist() == [[[120, 120, 120]]]
