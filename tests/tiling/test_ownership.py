import numpy as np
import pytest

from keras_maskrcnn.data.tile_grid import tile_blocks, tile_windows
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.tiling.ownership import Role, roles
from keras_maskrcnn.tiling.pieces import Pieces

SIZE = (100, 180)
WINDOWS = tile_windows(*SIZE, (100, 100), (20, 20))  # columns 0..100 and 80..180
BLOCKS = tile_blocks(*SIZE, (100, 100), (20, 20))  # they meet at column 90


@pytest.mark.parametrize(
    ("tile", "x1", "x2", "cut", "role"),
    [
        (0, 40, 60, False, Role.FINAL),
        (0, 0, 20, False, Role.FINAL),  # the border of the image needs no room
        (0, 76, 96, False, Role.FINAL),  # 4 columns to the end of the window, with 2.5 as its room
        (0, 78, 98, False, Role.OPEN),  # too near to the end of the window
        (0, 60, 100, True, Role.OPEN),
        (1, 76, 96, True, Role.DROPPED),  # tile 0 decides, which sees all of it
        (1, 80, 90, True, Role.DROPPED),
        (0, 85, 97, False, Role.SPARE),  # the center is a column behind the border of the blocks
        (0, 85, 97, True, Role.DROPPED),
        (0, 86, 98, False, Role.DROPPED),
        (0, 92, 99, False, Role.DROPPED),
        (1, 85, 97, False, Role.FINAL),
        (0, 60, 130, True, Role.OPEN),  # tile 1 would decide, but does not see its left end
    ],
)
def test_the_tile_decides_whose_block_holds_the_center(tile, x1, x2, cut, role):
    pieces = Pieces(
        np.array([[x1, 40, x2, 60]], np.float32),
        np.array([0.5]),
        np.array([1]),
        np.array([cut]),
        InstanceMasks([np.ones((20, x2 - x1), bool)], [(40, x1)], SIZE),
    )
    assert roles(pieces, tile, WINDOWS, BLOCKS, SIZE).tolist() == [role]


def test_every_piece_in_the_middle_of_a_block_is_final_for_one_tile_only():
    size = (300, 400)
    windows, blocks = (f(*size, 128, 40) for f in (tile_windows, tile_blocks))
    rng = np.random.default_rng(0)
    for y, x in zip(rng.integers(0, 290, 200), rng.integers(0, 390, 200), strict=True):
        mask = InstanceMasks([np.ones((9, 9), bool)], [(int(y), int(x))], size)
        one = Pieces(np.zeros((1, 4)), np.ones(1), np.ones(1), np.array([False]), mask)
        found = [roles(one, tile, windows, blocks, size)[0] for tile in range(len(windows))]
        assert found.count(Role.FINAL) == 1


def test_of_no_pieces():
    none = Pieces(
        *(np.zeros((0, 4)), *[np.zeros(0)] * 2, np.zeros(0, bool), InstanceMasks([], [], SIZE))
    )
    assert roles(none, 0, WINDOWS, BLOCKS, SIZE).shape == (0,)
