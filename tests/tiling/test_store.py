import gc
import os
import sqlite3

import numpy as np
import pytest

from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.tiling.joining import Object
from keras_maskrcnn.tiling.pieces import Pieces
from keras_maskrcnn.tiling.store import TileStore

SIZE = (70, 90)


@pytest.fixture
def found():
    """Two pieces, one of them with an odd outline."""
    odd = np.random.default_rng(0).random((7, 9)) > 0.5
    return Pieces(
        np.array([[1.5, 2, 3, 4.25], [20, 30, 29, 37]], np.float32),
        np.array([0.25, 0.75], np.float32),
        np.array([1, 3], np.int32),
        np.array([True, False]),
        InstanceMasks([np.ones((2, 2), bool), odd], [(2, 1), (30, 20)], SIZE),
    )


def test_pieces_come_back_as_they_were(tmp_path, found):
    store = TileStore(tmp_path / "a", {"tile": 8})
    store.add(4, found, full=True)
    store.add(2, found, full=False)
    store.close()
    store = TileStore(tmp_path / "a", {"tile": 8})  # after a kill
    assert store.finished() == {2, 4} and store.full_tiles() == 1
    ids, pieces = store.pieces(4, SIZE)
    assert ids == [1, 2] and store.pieces(2, SIZE)[0] == [3, 4]
    for name in ("boxes", "scores", "labels", "cut"):
        value = getattr(pieces, name)
        np.testing.assert_array_equal(value, getattr(found, name))
        assert value.dtype == getattr(found, name).dtype
    np.testing.assert_array_equal(pieces.masks, found.masks)
    piece = store.piece(2)
    assert piece.tile == 4 and piece.label == 3 and not piece.cut and piece.mask[1] == (30, 20)
    assert len(store.pieces(7, SIZE)[1]) == 0


def test_objects_come_by_falling_score_and_masks_one_by_one(tmp_path):
    store = TileStore(tmp_path / "a", {})
    one = np.ones((2, 3), bool)
    objects = [Object(np.arange(4) + i, i / 4, i + 1, (one, (i, 5))) for i in range(3)]
    store.write_objects(iter(objects))
    ids, values, masks = store.objects(SIZE)
    assert values[:, 4].tolist() == [0.5, 0.25, 0] and values[:, 5].tolist() == [3, 2, 1]
    assert masks.shape == (3, 70, 90) and masks.crop(0)[1] == (2, 5) and masks.crop(0)[0].all()
    store.keep_objects(ids[[0, 2]])
    assert store.objects(SIZE)[1][:, 5].tolist() == [3, 1]
    store.write_objects(iter(objects[:1]))  # replaces all
    assert len(store.objects(SIZE)[0]) == 1


def test_objects_that_were_not_written_to_the_end_leave_the_old_ones(tmp_path):
    store = TileStore(tmp_path / "a", {})
    one = Object(np.zeros(4), 0.5, 1, (np.ones((1, 1), bool), (0, 0)))
    store.write_objects([one])

    def killed():
        yield one
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_objects(killed())
    store.close()
    assert len(TileStore(tmp_path / "a", {}).objects(SIZE)[0]) == 1


def test_tiles_that_were_left_out_are_tried_again(tmp_path):
    store = TileStore(tmp_path / "a", {})
    store.leave_out(3, "broken")
    assert store.left_out() == {3: "broken"} and store.count() == 1
    store.close()
    store = TileStore(tmp_path / "a", {})
    assert not store.left_out() and not store.finished()


def test_the_file_of_another_run_is_refused(tmp_path):
    TileStore(tmp_path / "a", {"tile": [512, 512], "score": 0.5}).close()
    with pytest.raises(ValueError, match=r"a holds the tiles of another run.* tile=\[256, 256\]"):
        TileStore(tmp_path / "a", {"tile": (256, 256), "score": 0.5})


def test_another_file_is_refused(tmp_path):
    (tmp_path / "a").write_text("a text that is no database, " * 100)
    with pytest.raises(ValueError, match="cannot be used as a file of finished tiles"):
        TileStore(tmp_path / "a", {})
    assert (tmp_path / "a").read_text().startswith("a text")
    sqlite3.connect(tmp_path / "b").execute("CREATE TABLE other (x)").connection.close()
    with pytest.raises(ValueError, match="no such table"):
        TileStore(tmp_path / "b", {})


def test_two_runs_at_once_are_refused(tmp_path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, timeout=0.1))
    store = TileStore(tmp_path / "a", {})
    with pytest.raises(ValueError, match="a cannot be used .*: database is locked"):
        TileStore(tmp_path / "a", {})
    store.unlock()
    TileStore(tmp_path / "a", {})


def test_masks_that_a_later_run_replaced_are_not_mistaken(tmp_path):
    store, one = TileStore(tmp_path / "a", {}), np.ones((2, 3), bool)
    store.write_objects([Object(np.zeros(4), 0.5, 1, (one, (0, 0)))])
    masks = store.objects(SIZE)[2]
    store.write_objects([Object(np.zeros(4), 0.5, 1, (~one, (0, 0)))])
    with pytest.raises(OSError, match="a: a later run has replaced these objects"):
        masks.crop(0)


def test_a_full_disk_and_a_closed_file_are_named(tmp_path, found):
    store = TileStore(tmp_path / "a", {})
    store._rows("PRAGMA max_page_count = 1")  # SQLite takes the pages that there are
    with pytest.raises(OSError, match=r"a cannot be written \(database or disk is full\)"):
        for tile in range(1000):
            store.add(tile, found, full=False)
    assert store.finished() == set(range(tile))
    store.close()
    with pytest.raises(OSError, match=r"a cannot be read \(Cannot operate on a closed"):
        store.finished()


def test_a_temporary_file_lives_as_long_as_its_masks():
    store = TileStore(None, {})
    path = store.path
    store.write_objects([Object(np.zeros(4), 0.5, 1, (np.ones((2, 3), bool), (0, 0)))])
    masks = store.objects(SIZE)[2]
    del store
    gc.collect()
    assert masks.areas().tolist() == [6]
    del masks
    gc.collect()
    assert not os.path.exists(os.path.dirname(path))


def test_the_folder_is_made(tmp_path):
    TileStore(tmp_path / "new" / "a", {})
    assert (tmp_path / "new" / "a").is_file()


def test_a_damaged_file_is_named(tmp_path, found):
    store = TileStore(tmp_path / "a", {"tile": 8})
    store.add(0, found, full=False)
    with store._db as db:
        db.execute("UPDATE pieces SET mask = ?", (b"no mask",))
    with pytest.raises(OSError, match="a is damaged"):
        store.piece(1)
    with store._db as db:
        db.execute("UPDATE run SET value = ?", ("no json",))
    store.close()
    with pytest.raises(ValueError, match="a cannot be used as a file of finished tiles"):
        TileStore(tmp_path / "a", {"tile": 8})
