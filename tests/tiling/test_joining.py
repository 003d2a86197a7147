import numpy as np
import pytest

from keras_maskrcnn.data.tile_grid import tile_blocks, tile_windows
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.tiling.joining import Piece, groups, pairs, reported
from keras_maskrcnn.tiling.pieces import Pieces

SIZE = (100, 180)
WINDOWS = tile_windows(*SIZE, (100, 100), (20, 20))  # columns 0..100 and 80..180
BLOCKS = tile_blocks(*SIZE, (100, 100), (20, 20))  # they meet at column 90


def pieces(*rectangles, labels=None, cut=None):
    """Makes pieces of filled rectangles (y1, x1, y2, x2)."""
    boxes = np.array([(x1, y1, x2, y2) for y1, x1, y2, x2 in rectangles], np.float32)
    count = len(rectangles)
    return Pieces(
        boxes,
        np.full(count, 0.9, np.float32),
        np.array(labels or [1] * count),
        np.array(cut or [False] * count),
        InstanceMasks(
            [np.ones((y2 - y1, x2 - x1), bool) for y1, x1, y2, x2 in rectangles],
            [(y1, x1) for y1, x1, _, _ in rectangles],
            SIZE,
        ),
    )


def piece(tile, y1, x1, y2, x2, score=0.9, label=1, cut=False):
    region = np.ones((y2 - y1, x2 - x1), bool)
    return Piece(tile, np.array([x1, y1, x2, y2], float), score, label, cut, (region, (y1, x1)))


def report(*found, seams="join"):
    return list(reported(found, WINDOWS, BLOCKS, SIZE, seams))


def test_only_pixels_that_both_tiles_see_are_compared():
    # 10 of 60 columns of the first are shared; there, the two agree exactly.
    assert pairs(pieces((10, 40, 20, 90)), pieces((10, 80, 20, 90)), *WINDOWS) == [(0, 0)]
    # Their shared parts are 10 and 5 columns, with 5 in common.
    assert pairs(pieces((10, 40, 20, 90)), pieces((10, 80, 20, 85)), *WINDOWS) == [(0, 0)]
    assert pairs(pieces((10, 40, 20, 90)), pieces((10, 80, 20, 84)), *WINDOWS) == []


def test_tiles_that_share_no_pixel_share_no_object():
    assert pairs(pieces((0, 0, 9, 9)), pieces((0, 0, 9, 9)), (0, 0, 9, 9), (0, 9, 9, 9)) == []


def test_a_cut_piece_may_lie_in_a_larger_one_of_its_class():
    small, large = (10, 80, 20, 83), (0, 80, 50, 95)
    assert pairs(pieces(small, cut=[True]), pieces(large), *WINDOWS) == [(0, 0)]
    assert pairs(pieces(large), pieces(small, cut=[True]), *WINDOWS) == [(0, 0)]
    assert pairs(pieces(small), pieces(large), *WINDOWS) == []
    assert pairs(pieces(small, cut=[True], labels=[2]), pieces(large), *WINDOWS) == []


def test_pieces_without_pixels_in_common_are_no_pair_even_if_boxes_touch():
    shapes = np.tri(10, dtype=bool), ~np.tri(10, dtype=bool)
    both = [pieces((10, 85, 20, 95)) for _ in shapes]
    masks = [InstanceMasks([shape], [(10, 85)], SIZE) for shape in shapes]
    both = [Pieces(p.boxes, p.scores, p.labels, p.cut, m) for p, m in zip(both, masks, strict=True)]
    assert pairs(*both, *WINDOWS) == []


def test_groups_are_connected():
    assert groups([(5, 7), (1, 2), (7, 9), (9, 5)]) == [[1, 2], [5, 7, 9]]
    assert groups([]) == []
    chain = [(i, i + 1) for i in range(10_000)]  # no recursion
    assert groups(reversed(chain)) == [list(range(10_001))]


def test_the_piece_that_is_farthest_from_borders_stands_for_a_whole_object():
    # 4 columns to the end of tile 0; 5 from the begin of tile 1.
    (found,) = report(piece(0, 10, 84, 20, 96, 0.95), piece(1, 10, 85, 20, 97, 0.6, label=2))
    assert found.score == 0.6 and found.label == 2 and found.mask[1] == (10, 85)
    assert found.box.tolist() == [85, 10, 97, 20]


def test_whole_beats_cut_whatever_the_scores():
    (found,) = report(piece(0, 10, 70, 20, 98, 0.5), piece(1, 10, 80, 20, 98, 0.99, cut=True))
    assert found.score == 0.5 and found.mask[0].shape == (10, 28)


def test_a_piece_that_lacks_what_others_see_is_not_whole():
    """A model's mask may end some pixels before the border."""
    (found,) = report(piece(0, 10, 60, 20, 95), piece(1, 10, 80, 20, 130, cut=True))
    assert found.mask[0].shape == (10, 70)


def test_two_classes_of_one_tile_are_reported_as_without_tiles():
    found = report(
        piece(0, 10, 70, 20, 95, 0.9, label=1),
        piece(0, 10, 70, 20, 95, 0.4, label=2),
        piece(1, 10, 80, 20, 95, 0.8, label=2, cut=True),
    )
    assert sorted((x.label, x.score) for x in found) == [(1, 0.9), (2, 0.4)]


def test_parts_are_joined_and_weighted_by_their_areas():
    left = piece(0, 10, 60, 20, 100, 0.9, label=1, cut=True)  # 400 pixels
    right = piece(1, 10, 80, 20, 180, 0.6, label=2, cut=True)  # 1000 pixels
    (found,) = report(left, right)
    assert found.label == 2 and found.score == pytest.approx(0.6)  # 600 against 360
    assert found.box.tolist() == [60, 10, 180, 20]
    assert found.mask[0].shape == (10, 120) and found.mask[0].all() and found.mask[1] == (10, 60)
    (found,) = report(left._replace(label=2), right)
    assert found.score == pytest.approx((0.9 * 400 + 0.6 * 1000) / 1400)


def test_weak_second_labels_do_not_outvote_the_first():
    def seen(tile, x1, x2):
        first = piece(tile, 10, x1, 20, x2, 0.9, label=1, cut=True)
        return first, first._replace(score=0.8, label=2)

    other = piece(1, 10, 80, 20, 180, 0.85, label=2, cut=True)
    (found,) = report(*seen(0, 0, 100), other)  # 900 for label 1, 850 for label 2
    assert found.label == 1 and found.score == 0.9


def test_a_weak_whole_piece_does_not_stand_for_a_sure_part():
    sure = piece(0, 10, 60, 20, 100, 1.0, label=1, cut=True)
    weak = piece(0, 10, 60, 20, 97, 0.6, label=2)
    (found,) = report(sure, weak, piece(1, 10, 80, 20, 130, 0.9, label=1, cut=True))
    assert found.label == 1 and found.mask[0].shape == (10, 70)


def test_a_pixel_of_a_joined_object_is_decided_by_the_tile_where_it_is_deeper():
    # The first tile sees rows 10..20 everywhere, the second rows 10..15.
    (found,) = report(piece(0, 10, 60, 20, 100, cut=True), piece(1, 10, 80, 15, 180, cut=True))
    mask = found.mask[0]
    assert mask[:5].all()
    assert mask[5:, :30].all() and not mask[5:, 30:].any()  # the blocks meet at column 90 = 60 + 30


def test_two_parts_of_one_tile_are_both_in_a_joined_object():
    ring = [piece(0, 10, 70, 20, 100, cut=True), piece(0, 40, 70, 50, 100, cut=True)]
    (found,) = report(*ring, piece(1, 10, 80, 50, 130, cut=True))
    columns = found.mask[0][:, 5]  # column 75, which only the first tile sees
    assert columns.tolist() == [True] * 10 + [False] * 20 + [True] * 10


def test_a_part_that_no_other_tile_confirms_stays_in_its_own_block_only():
    assert report(piece(0, 10, 60, 20, 100, cut=True))  # its center is in column 80
    assert not report(piece(0, 10, 85, 20, 100, cut=True))


def test_own_leaves_parts_out_and_gives_whole_objects_to_one_block():
    cut = piece(0, 10, 60, 20, 100, cut=True), piece(1, 10, 80, 20, 130, cut=True)
    assert not report(*cut, seams="own")
    outside = piece(0, 10, 92, 20, 97)  # tile 1 did not confirm it, and owns it
    assert report(outside) and not report(outside, seams="own")
    assert report(piece(0, 10, 80, 20, 90), seams="own")
    (found,) = report(outside, piece(1, 10, 92, 20, 97, 0.7), seams="own")
    assert found.score == 0.7


def test_own_keeps_an_object_that_two_tiles_see_whole_at_their_borders():
    both = piece(0, 10, 81, 20, 99, 0.9, cut=True), piece(1, 10, 81, 20, 99, 0.8, cut=True)
    assert len(report(*both, seams="own")) == 1
