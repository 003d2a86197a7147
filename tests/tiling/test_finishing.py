import numpy as np
import pytest

from keras_maskrcnn.data.tile_grid import tile_blocks, tile_windows
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.tiling.finishing import write_objects
from keras_maskrcnn.tiling.pieces import Pieces
from keras_maskrcnn.tiling.store import TileStore

SIZE = (100, 180)
WINDOWS = tile_windows(*SIZE, (100, 100), (20, 20))  # columns 0..100 and 80..180
BLOCKS = tile_blocks(*SIZE, (100, 100), (20, 20))  # they meet at column 90


@pytest.fixture
def store():
    return TileStore(None, {})


def add(store, tile, *found):
    """Adds pieces of a tile, each (x1, x2, score, cut), in rows 40 to 60."""
    store.add(
        tile,
        Pieces(
            np.array([[x1, 40, x2, 60] for x1, x2, *_ in found], np.float32).reshape(-1, 4),
            np.array([score for _, _, score, _ in found], np.float32),
            np.ones(len(found), np.int32),
            np.array([cut for *_, cut in found], bool),
            InstanceMasks(
                [np.ones((20, x2 - x1), bool) for x1, x2, *_ in found],
                [(40, x1) for x1, *_ in found],
                SIZE,
            ),
        ),
        full=False,
    )


def objects(store, seams="join"):
    """Returns (x1, x2, score) of the objects in order, and how many are left out."""
    lost = write_objects(store, WINDOWS, BLOCKS, SIZE, seams)
    _, values, _ = store.objects(SIZE)
    return sorted((int(v[0]), int(v[2]), round(float(v[4]), 3)) for v in values), lost


def test_the_tile_that_decides_is_alone_to_decide(store):
    add(store, 0, (74, 92, 0.5, False), (94, 99, 0.9, False))
    add(store, 1, (80, 92, 0.9, True), (120, 140, 0.7, False))
    # Tile 0 decides about columns 74 to 92, and tile 1, which saw nothing, about 94 to 99.
    assert objects(store) == ([(74, 92, 0.5), (120, 140, 0.7)], 0)


def test_of_two_views_at_the_border_of_the_blocks_the_better_stays(store):
    add(store, 0, (83, 96, 0.5, False))  # center 89.5
    add(store, 1, (84, 97, 0.6, False))  # center 90.5
    assert objects(store) == ([(84, 97, 0.6)], 0)


def test_an_object_that_each_tile_sees_in_the_block_of_the_other_is_not_lost(store):
    add(store, 0, (84, 97, 0.5, False))
    add(store, 1, (83, 96, 0.6, False))
    assert len(objects(store)[0]) == 1


def test_such_a_view_without_another_is_dropped(store):
    add(store, 0, (84, 97, 0.5, False))
    add(store, 1)
    assert objects(store) == ([], 0)


def test_parts_are_joined_and_crowds_beside_them_stay_apart(store):
    add(store, 0, (60, 100, 0.5, True), (20, 40, 0.3, False))
    add(store, 1, (80, 130, 0.5, True), (140, 160, 0.3, False))
    expected = [(20, 40, 0.3), (60, 130, 0.5), (140, 160, 0.3)]
    assert objects(store) == (expected, 0)
    assert objects(store, "own") == ([expected[0], expected[2]], 1)


def test_a_part_of_an_object_that_is_reported_goes(store):
    add(store, 0, (72, 92, 0.9, False), (78, 99, 0.4, True))  # the second is a sloppier view of it
    add(store, 1, (80, 92, 0.9, True), (80, 99, 0.3, True))
    found, _ = objects(store)
    assert (72, 92, 0.9) in found and len(found) <= 2


def test_weak_pieces_of_a_crowd_do_not_connect_neighbors(store):
    """A blob over two objects is no reason to make one of them."""
    add(store, 0, (70, 80, 0.9, False), (81, 91, 0.9, False), (70, 91, 0.1, False))
    add(store, 1, (80, 91, 0.2, True), (94, 104, 0.9, False))
    assert objects(store)[0] == [(70, 80, 0.9), (70, 91, 0.1), (81, 91, 0.9), (94, 104, 0.9)]
