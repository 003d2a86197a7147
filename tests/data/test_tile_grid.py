import itertools

import numpy as np
import pytest

from keras_maskrcnn.data.tile_grid import as_pair, tile_and_overlap, tile_blocks, tile_windows

GRIDS = [  # height, width, tile, overlap
    (10, 10, 4, 1),
    (11, 7, (4, 7), (3, 2)),
    (100, 101, 60, 20),  # the last two tiles share nearly everything
    (5, 5, 5, 4),
    (7, 30, (3, 8), (1, 7)),
]


def test_literal_windows_and_blocks():
    windows = tile_windows(6, 10, (6, 6), 2)
    assert windows.tolist() == [[0, 0, 6, 6], [0, 4, 6, 6]]
    assert tile_blocks(6, 10, (6, 6), 2).tolist() == [[0, 0, 6, 5], [0, 5, 6, 5]]
    # Row by row; the last column is shifted back by 3.
    assert tile_windows(8, 7, 5, 2).tolist() == [
        [0, 0, 5, 5],
        [0, 2, 5, 5],
        [3, 0, 5, 5],
        [3, 2, 5, 5],
    ]
    assert tile_windows(8, 7, 5, 2).dtype == tile_blocks(8, 7, 5, 2).dtype == np.int64


def test_a_tile_of_the_size_of_the_image_is_the_image():
    for grid in tile_windows, tile_blocks:
        assert grid(5, 9, (5, 9), 1).tolist() == [[0, 0, 5, 9]]


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), GRIDS)
def test_laws(height, width, tile, overlap):
    windows = tile_windows(height, width, tile, overlap)
    blocks = tile_blocks(height, width, tile, overlap)
    rows, columns = as_pair("tile", tile)
    assert (windows[:, 2:] == [rows, columns]).all()
    assert len({*map(tuple, windows.tolist())}) == len(windows)
    covered, owned = np.zeros([2, height, width], int)
    for (y, x, h, w), (top, left, in_rows, in_columns) in zip(windows, blocks, strict=True):
        assert y >= 0 and x >= 0 and y + h <= height and x + w <= width
        assert y <= top and x <= left and top + in_rows <= y + h and left + in_columns <= x + w
        assert in_rows > 0 and in_columns > 0
        covered[y : y + h, x : x + w] += 1
        owned[top : top + in_rows, left : left + in_columns] += 1
    assert covered.min() >= 1 and (owned == 1).all()
    for side, shared in enumerate(as_pair("overlap", overlap)):
        starts = np.unique(windows[:, side])
        assert (starts[:-1] + (rows, columns)[side] - starts[1:] >= shared).all()


@pytest.mark.parametrize(("height", "width", "tile", "overlap"), GRIDS)
def test_what_is_at_most_as_large_as_the_overlap_is_whole_in_a_tile(height, width, tile, overlap):
    windows = tile_windows(height, width, tile, overlap)
    rows, columns = as_pair("overlap", overlap)
    for y, x in itertools.product(range(height - rows + 1), range(width - columns + 1)):
        ends = windows[:, :2] + windows[:, 2:]
        assert ((windows[:, :2] <= [y, x]) & (ends >= [y + rows, x + columns])).all(axis=1).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 10, 11, 1), r"tile must not be larger than the image of height=10, width=10. "),
        ((10, 20, (10, 21), 1), r"Received: tile=\(10, 21\)\."),
        ((10, 10, 5, 0), r"overlap must be at least 1 and less than tile. Received: overlap=\(0, "),
        ((10, 10, 5, (2, -1)), r"Received: overlap=\(2, -1\), tile=\(5, 5\)\."),
        ((10, 10, 5, 5), "overlap must be"),
        ((10, 10, 0, 1), "tile must be at least 1"),
        ((10, 10, 4.5, 1), r"tile must be a whole number, or a pair .* Received: tile=4.5\."),
        ((10, 10, (4, 4, 4), 1), "Received: tile="),
        ((10, 10, 4, "1"), "overlap must be a whole number"),
        ((10, 10, 4, None), "overlap must be a whole number"),
        ((10, 10, float("nan"), 1), "tile must be a whole number"),
    ],
)
@pytest.mark.parametrize("grid", [tile_windows, tile_blocks])
def test_bad_arguments_give_one_line(grid, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        grid(*arguments)
    assert "\n" not in str(error.value)


def test_tiles_share_a_quarter_by_default():
    assert tile_and_overlap(1024, None) == ((1024, 1024), (256, 256))
    assert tile_and_overlap((40, 31), None) == ((40, 31), (10, 7))
    assert tile_and_overlap(40, (1, 39)) == ((40, 40), (1, 39))
    with pytest.raises(ValueError, match="overlap must be at least 1 and less than tile"):
        tile_and_overlap(3, None)
