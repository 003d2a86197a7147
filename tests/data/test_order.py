"""data/order.py: each image once, batches of one group, and starts at any step."""

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.data import order


def epoch(count, batch_size, groups=None, seed=0):
    groups = np.zeros(count, int) if groups is None else np.asarray(groups)
    rng = np.random.default_rng(seed)
    return order.epoch_order(count, batch_size, groups=groups, rng=rng)


def test_an_epoch_has_each_image_at_most_once_and_leaves_out_fewer_than_a_batch():
    for count in (4, 5, 6, 7, 23):
        drawn = epoch(count, 4, groups=np.arange(count) % 3)
        assert len(drawn) == count // 4 * 4 == len(set(drawn.tolist()))


def test_what_is_left_out_differs_between_epochs():
    missing = {(set(range(5)) - set(epoch(5, 4, seed=seed).tolist())).pop() for seed in range(30)}
    assert missing == set(range(5))


def test_batches_have_one_group_but_for_what_is_left_of_each():
    groups = np.array([0] * 10 + [1] * 7 + [2] * 3)
    for seed in range(5):
        rows = groups[epoch(20, 4, groups, seed)].reshape(-1, 4)
        pure = sum(len(set(row)) == 1 for row in rows.tolist())
        assert len(rows) == 5 and pure >= 3  # 2 of group 0 and 1 of group 1


def test_mixed_batches_are_not_always_last():
    groups = np.array([0] * 6 + [1] * 6)
    places = set()
    for seed in range(20):
        rows = groups[epoch(12, 4, groups, seed)].reshape(-1, 4)
        places.add(next(i for i, row in enumerate(rows.tolist()) if len(set(row)) == 2))
    assert places == {0, 1, 2}


def test_fewer_images_than_a_batch_are_repeated():
    drawn = epoch(3, 8)
    assert len(drawn) == 8 and np.bincount(drawn).min() >= 2


def test_without_rng_images_come_one_after_the_other():
    drawn = order.epoch_order(5, 2, groups=np.arange(5), rng=None)
    assert drawn.tolist() == [0, 1, 2, 3]
    assert order.epoch_order(2, 3, groups=[0, 0], rng=None).tolist() == [0, 1, 0]


def test_aspect_groups_are_torchvisions():
    sizes = [(100, 100), (100, 125), (100, 127), (125, 100), (100, 300), (300, 100)]
    # width / height of 1, 1.25, 1.27, 0.8, 3, 0.33; edges at 0.5, 0.63, 0.79, 1, 1.26, 1.59, 2
    assert order.aspect_groups(sizes).tolist() == [4, 4, 5, 3, 7, 0]


def positions(first_step=0, seed=5, **options):
    options = {"groups": np.arange(7) % 2, "repeat": True, **options}
    drawn = order.training_positions(7, 2, seed=seed, first_step=first_step, **options)
    return list(drawn.take(20).as_numpy_iterator())


@pytest.mark.parametrize("step", [1, 3, 4, 8])
def test_a_later_step_is_reached_without_those_before(step):
    whole, rest = positions(), positions(step)
    for (index, seed), (later, later_seed) in zip(whole[2 * step :], rest, strict=False):
        assert index == later and seed.tolist() == later_seed.tolist()


def test_epochs_and_seeds_differ_but_runs_repeat():
    first, again, other = positions(), positions(), positions(seed=6)
    assert [int(i) for i, _ in first] == [int(i) for i, _ in again]
    assert [int(i) for i, _ in first] != [int(i) for i, _ in other]
    assert [int(i) for i, _ in first[:6]] != [int(i) for i, _ in first[6:12]]
    assert len({tuple(seed) for _, seed in first}) == 20


@pytest.mark.parametrize("repeat", [True, False])
def test_the_global_seed_does_not_count(repeat):
    drawn = []
    for seed in (None, 1, 2):
        tf.random.set_seed(seed)
        drawn.append([(int(i), s.tolist()) for i, s in positions(repeat=repeat)])
    assert drawn[0] == drawn[1] == drawn[2]


def test_an_epoch_alone_has_the_order_that_repeating_gives_it():
    whole = [int(i) for i, _ in positions()]
    drawn = order.training_positions(7, 2, groups=np.arange(7) % 2, seed=5)
    epochs = [[int(i) for i, _ in drawn.as_numpy_iterator()] for _ in range(3)]
    assert epochs == [whole[:6], whole[6:12], whole[12:18]]


def test_each_iteration_over_one_epoch_draws_anew():
    drawn = order.training_positions(7, 2, groups=np.zeros(7, int), seed=0)
    epochs = [[int(i) for i, _ in drawn.as_numpy_iterator()] for _ in range(4)]
    assert all(len(e) == 6 for e in epochs) and len({tuple(e) for e in epochs}) > 1


def test_outside_training_images_come_in_turn_once_or_for_ever():
    once = list(order.positions_in_turn(3).as_numpy_iterator())
    assert [int(i) for i, _ in once] == [0, 1, 2] and not np.any([seed for _, seed in once])
    repeated = order.positions_in_turn(3, repeat=True).take(5)
    assert [int(i) for i, _ in repeated] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("count", [3, 23])
def test_positions_drawn_before_are_those_of_an_endless_run(count, shuffle):
    options = {"groups": np.arange(count) % 3, "seed": 5, "shuffle": shuffle}
    for first, last in ((0, 1), (0, 12), (4, 13), (5, 10)):
        drawn = order.drawn_positions(count, 4, first_step=first, steps=last, **options)
        endless = order.training_positions(count, 4, repeat=True, first_step=first, **options)
        expected = list(endless.take(4 * (last - first)).as_numpy_iterator())
        found = list(drawn.as_numpy_iterator())
        assert [i for i, _ in found] == [i for i, _ in expected]
        np.testing.assert_array_equal([s for _, s in found], [s for _, s in expected])
        rows = {"first_step": first, "steps": last, "rows": np.array([3, 1])}
        share = list(order.drawn_positions(count, 4, **rows, **options).as_numpy_iterator())
        assert [i for i, _ in share[::2]] == [i for i, _ in expected[3::4]]
        assert [i for i, _ in share[1::2]] == [i for i, _ in expected[1::4]]


def test_more_positions_than_a_graph_holds_are_refused():
    with pytest.raises(ValueError, match=r"at most 100,000,000 images.* steps=50000001, first_st"):
        order.drawn_positions(2, 2, groups=np.zeros(2), seed=0, steps=50_000_001)


@pytest.mark.parametrize("options", [{}, {"first_step": 4}, {"repeat": False}])
def test_rows_of_batches_are_those_of_the_whole_batches(options):
    whole = positions(**options)
    parts = [positions(**options, rows=np.array(rows)) for rows in ([1], [0])]
    for row, part in zip((1, 0), parts, strict=True):
        expected = whole[row::2]
        assert [int(i) for i, _ in part[: len(expected)]] == [int(i) for i, _ in expected]
        assert all(a.tolist() == b.tolist() for (_, a), (_, b) in zip(part, expected, strict=False))


def test_data_sets_that_share_their_epochs_go_on_where_the_other_stopped():
    epochs = iter(range(9))
    drawn = [
        order.training_positions(
            7, 2, groups=np.zeros(7, int), seed=0, rows=np.array(rows), epochs=epochs
        )
        for rows in ([0, 1], [1])
    ]
    first, second = ([int(i) for i, _ in data.as_numpy_iterator()] for data in drawn)
    whole = order.training_positions(7, 2, groups=np.zeros(7, int), seed=0, repeat=True)
    whole = [int(i) for i, _ in whole.take(12).as_numpy_iterator()]
    assert (first, second) == (whole[:6], whole[7::2])


def test_rows_in_turn_are_missing_where_the_last_batch_is_short():
    rows = np.array([1, 2, 4])
    once = [int(i) for i, _ in order.rows_in_turn(6, 4, rows).as_numpy_iterator()]
    assert once == [1, 2, -1, 5, -1, -1]  # a batch has no row 4
    repeated = order.rows_in_turn(6, 4, rows, repeat=True).take(6)
    assert [int(i) for i, _ in repeated] == [1, 2, -1, 5, 0, -1]
