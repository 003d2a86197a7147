import numpy as np
import pytest

from keras_maskrcnn.tiling.pieces import depth, pieces_of_tile


def outputs(*boxes, scores=None, masks=True):
    """Makes outputs for one tile; masks are full."""
    found = {
        "boxes": np.array([boxes], np.float32).reshape(1, -1, 4),
        "scores": np.array([scores or [0.9] * len(boxes)], np.float32),
        "labels": np.array([range(1, len(boxes) + 1)], np.int32),
        "num_detections": np.array([len(boxes)], np.int32),
    }
    if masks:
        found["masks"] = np.ones((1, len(boxes), 28, 28), np.float32)
    return found


def convert(found, window=(100, 200, 50, 60), seen=(50, 60), size=(1000, 1000), threshold=0.0):
    return pieces_of_tile(found, 0, seen, window, size, threshold, "detectron2")


@pytest.mark.parametrize("masks", [True, False])
def test_pieces_are_in_pixels_of_the_image(masks):
    pieces = convert(outputs([10, 20, 15, 30], masks=masks))
    assert pieces.boxes.tolist() == [[210, 120, 215, 130]] and pieces.labels.tolist() == [1]
    region, origin = pieces.masks.crop(0)
    assert region.shape == (10, 5) and region.all() and origin == (120, 210)
    assert pieces.extents().tolist() == [[120, 210, 130, 215]]
    assert pieces.masks.size == (1000, 1000)


def test_a_tile_that_was_resized_is_scaled_back():
    pieces = convert(outputs([10, 20, 15, 30]), window=(100, 200, 100, 120))
    assert pieces.boxes.tolist() == [[220, 140, 230, 160]]
    assert pieces.extents().tolist() == [[140, 220, 160, 230]]


def test_low_scores_and_masks_without_a_pixel_are_left_out():
    found = outputs([10, 10, 20, 20], [0, 0, 20, 20], [30, 30, 40, 40], scores=[0.9, 0.8, 0.2])
    found["masks"][0, 1] = 0
    assert convert(found, threshold=0.5).labels.tolist() == [1]
    found["num_detections"][0] = 0
    assert len(convert(found)) == 0 and convert(found).extents().shape == (0, 4)


@pytest.mark.parametrize(
    ("box", "window", "cut"),
    [
        ([10, 10, 20, 20], (100, 200, 50, 60), False),
        ([2, 10, 20, 20], (100, 200, 50, 60), True),  # two pixels from the left border
        ([3, 10, 20, 20], (100, 200, 50, 60), False),
        ([0, 10, 20, 20], (100, 0, 50, 60), False),  # the image begins here
        ([10, 0, 20, 20], (0, 200, 50, 60), False),
        ([10, 10, 20, 50], (950, 200, 50, 60), False),  # the image ends here
        ([10, 10, 60, 20], (100, 940, 50, 60), False),
        ([10, 10, 20, 49], (100, 200, 50, 60), True),
        ([10, 10, 57.6, 20], (100, 200, 50, 60), True),
    ],
)
def test_a_piece_is_cut_if_it_touches_a_border_inside_the_image(box, window, cut):
    assert convert(outputs(box), window).cut.tolist() == [cut]


def test_a_large_piece_is_cut_within_one_cell_of_its_mask():
    big = [8, 100, 8 + 28 * 10, 300]  # cells of 10 pixels
    assert convert(outputs(big), (1000, 1000, 500, 500), (500, 500), (2000, 2000)).cut.all()
    small = [8, 100, 8 + 28 * 3, 300]
    assert not convert(outputs(small), (1000, 1000, 500, 500), (500, 500), (2000, 2000)).cut.any()


def test_depth_is_the_distance_to_borders_inside_the_image():
    extents = np.array([[10, 30, 20, 35]])
    assert depth(extents, (0, 20, 40, 50), (40, 100)).tolist() == [[np.inf, 10, np.inf, 35]]
