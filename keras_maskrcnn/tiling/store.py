"""A SQLite file with what was found in finished tiles, and the objects made of it.

It keeps memory small, and a run that was stopped goes on with the tiles that it lacks.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.instance_masks import Crop, InstanceMasks
from keras_maskrcnn.tiling.joining import Object, Piece
from keras_maskrcnn.tiling.pieces import Pieces
from keras_maskrcnn.typing import Path, Size

_FOUND = "x1 REAL, y1 REAL, x2 REAL, y2 REAL, score REAL, label INT"
_MASK = "y INT, x INT, height INT, width INT, mask BLOB"
_TABLES = f"""
CREATE TABLE run (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE tiles (tile INTEGER PRIMARY KEY, full INT, error TEXT);
CREATE TABLE pieces (id INTEGER PRIMARY KEY, tile INT, cut INT, {_FOUND}, {_MASK});
CREATE INDEX pieces_of_tile ON pieces (tile);
CREATE TABLE objects (id INTEGER PRIMARY KEY AUTOINCREMENT, {_FOUND}, {_MASK});
"""
_VALUES = "x1, y1, x2, y2, score, label, y, x, height, width, mask"


class TileStore:
    """The file of one image. It is closed when nothing uses it any more, not even its masks.

    Args:
        path: str or PathLike. A new file, or that of a stopped run. Its folder is made if it is
            missing. None: a temporary file, which is deleted when it is closed.
        run: dict of plain values that must be the same in all runs that share the file.

    Attributes:
        path: str.

    Raises:
        ValueError: if the file is of another run, in use by one, or none of this class.
        OSError: if the folder cannot be made. Other methods raise it if the disk is full or the
            file is damaged.
    """

    def __init__(self, path: Path | None, run: Mapping[str, Any]) -> None:
        folder = None
        if path is None:
            folder = tempfile.mkdtemp(prefix="keras_maskrcnn-")
            path = os.path.join(folder, "tiles.sqlite")
        self.path = os.fspath(path)
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        self._lock = threading.RLock()
        try:
            # Each use takes the lock, so threads may share the connection.
            self._db = sqlite3.connect(self.path, check_same_thread=False)
            self._close = weakref.finalize(self, _close, self._db, folder)
            self._open(run)
        except (sqlite3.DatabaseError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{self.path} cannot be used as a file of finished tiles: {error}."
            ) from error

    def _open(self, run):
        # Two runs that do the same tiles at once would find each object twice.
        self._db.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; COMMIT;")
        if not self._rows("SELECT name FROM sqlite_master"):
            self._db.executescript(f"BEGIN; {_TABLES} COMMIT;")
            self._set(**run)
        stored = {name: json.loads(v) for name, v in self._db.execute("SELECT * FROM run")}
        for name, value in json.loads(json.dumps(dict(run))).items():
            if stored.get(name) != value:
                self._db.close()
                raise ValueError(
                    f"{self.path} holds the tiles of another run; give another file, or delete it. "
                    f"Received: {name}={value!r}, there {stored.get(name)!r}."
                )
        with self._db:
            self._db.execute("DELETE FROM tiles WHERE error IS NOT NULL")  # to be tried again

    def unlock(self) -> None:
        """Lets other runs use the file. Until then they are refused."""
        self._rows("PRAGMA locking_mode = NORMAL")
        self._rows("SELECT count(*) FROM run")  # SQLite lets go with the next reading

    @contextlib.contextmanager
    def _written(self):
        """Locks the connection for a transaction."""
        try:
            with self._lock, self._db:
                yield self._db
        except sqlite3.Error as error:
            raise OSError(f"{self.path} cannot be written ({error})") from error

    def _set(self, **values):
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        with self._db:
            self._db.executemany("INSERT INTO run VALUES (?, ?)", rows)

    def finished(self) -> set[int]:
        """Returns the numbers of the tiles that need no more work."""
        return {tile for (tile,) in self._rows("SELECT tile FROM tiles")}

    def add(self, tile: int, pieces: Pieces, full: bool) -> None:
        """Keeps what was found in a tile. When it returns, a kill does not lose it.

        Args:
            tile: int. Its number.
            pieces: Pieces.
            full: bool. Whether the model found as many objects as it can give.
        """
        found = zip(pieces.boxes, pieces.scores, pieces.labels, pieces.masks.crops(), strict=True)
        rows = [
            (tile, bool(cut), *_row(Object(*one)))
            for cut, one in zip(pieces.cut, found, strict=True)
        ]
        marks = ", ".join("?" * 13)
        with self._written() as db:
            db.executemany(f"INSERT INTO pieces (tile, cut, {_VALUES}) VALUES ({marks})", rows)
            db.execute("INSERT OR REPLACE INTO tiles VALUES (?, ?, NULL)", (tile, full))

    def count(self) -> int:
        """Returns the number of tiles that are finished or left out."""
        return self._rows("SELECT count(*) FROM tiles")[0][0]

    def leave_out(self, tile: int, error: str) -> None:
        """Notes that a tile could not be read."""
        with self._written() as db:
            db.execute("INSERT OR REPLACE INTO tiles VALUES (?, 0, ?)", (tile, error))

    def left_out(self) -> dict[int, str]:
        """Returns the error of each tile that could not be read."""
        return dict(self._rows("SELECT tile, error FROM tiles WHERE error IS NOT NULL"))

    def full_tiles(self) -> int:
        """Returns the number of tiles in which the model found as many objects as it can give."""
        return self._rows("SELECT count(*) FROM tiles WHERE full")[0][0]

    def pieces(self, tile: int, size: Size) -> tuple[list[int], Pieces]:
        """Returns the ids of a tile's pieces, and the pieces.

        Args:
            tile: int.
            size: (H, W) of the image.
        """
        rows = self._rows(f"SELECT id, cut, {_VALUES} FROM pieces WHERE tile = ?", tile)
        objects = [self._object(*row[2:]) for row in rows]
        pieces = Pieces(
            np.array([x.box for x in objects], np.float32).reshape(-1, 4),
            np.array([x.score for x in objects], np.float32),
            np.array([x.label for x in objects], np.int32),
            np.array([row[1] for row in rows], bool),
            InstanceMasks([x.mask[0] for x in objects], [x.mask[1] for x in objects], size),
        )
        return [row[0] for row in rows], pieces

    def piece(self, index: int) -> Piece:
        """Returns the piece with an id."""
        query = f"SELECT tile, cut, {_VALUES} FROM pieces WHERE id = ?"
        ((tile, cut, *values),) = self._rows(query, index)
        found = self._object(*values)
        return Piece(tile, found.box, found.score, found.label, bool(cut), found.mask)

    def write_objects(self, objects: Iterable[Object]) -> None:
        """Replaces the objects. A kill leaves the old ones."""
        marks = ", ".join("?" * 11)
        with self._written() as db:
            db.execute("DELETE FROM objects")
            for one in objects:
                db.execute(f"INSERT INTO objects ({_VALUES}) VALUES ({marks})", _row(one))

    def keep_objects(self, ids: np.ndarray) -> None:
        """Deletes all objects but those with some ids."""
        with self._written() as db:
            db.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            db.executemany("INSERT INTO kept VALUES (?)", ((i,) for i in ids.tolist()))
            db.execute("DELETE FROM objects WHERE id NOT IN kept")
            db.execute("DROP TABLE kept")

    def objects(self, size: Size) -> tuple[np.ndarray, np.ndarray, InstanceMasks]:
        """Returns all objects by falling score.

        Args:
            size: (H, W) of the image.

        Returns:
            (n,) int64 ids; (n, 6) float64 [x1, y1, x2, y2, score, label]; and InstanceMasks, which
                read each mask from the file when it is asked for.
        """
        columns = "id, x1, y1, x2, y2, score, label, y, x"
        with self._lock:
            cursor = self._db.execute(f"SELECT {columns} FROM objects ORDER BY score DESC, id")
            values = np.fromiter(cursor, np.dtype((np.float64, 9)))
        ids, origins = values[:, 0].astype(np.int64), values[:, 7:].astype(np.int64)
        return ids, values[:, 1:7], InstanceMasks(_Crops(self, ids), origins, size)

    def crop(self, index: int) -> np.ndarray:
        """Returns the mask of the object with an id, (h, w) bool, inside its window."""
        rows = self._rows("SELECT height, width, mask FROM objects WHERE id = ?", index)
        if not rows:
            raise OSError(f"{self.path}: a later run has replaced these objects.")
        return self._unpacked(*rows[0])

    def close(self) -> None:
        """Closes the file, and deletes it if it is temporary."""
        self._close()

    def _object(self, *values):
        *box, score, label, y, x, height, width, mask = values
        crop: Crop = self._unpacked(height, width, mask), (y, x)
        return Object(np.array(box, np.float32), score, label, crop)

    def _unpacked(self, height, width, mask):
        try:
            bits = np.frombuffer(zlib.decompress(mask), np.uint8)
        except zlib.error as error:
            raise OSError(f"{self.path} is damaged ({error})") from error
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)

    def _rows(self, query, *values):
        try:
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise OSError(f"{self.path} cannot be read ({error})") from error


def _close(connection, folder):
    connection.close()
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


class _Crops(Sequence[np.ndarray]):
    """The masks of a store's objects, each read when it is asked for."""

    def __init__(self, store, ids):
        self._store, self._ids = store, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: Any) -> Any:
        return self._store.crop(int(self._ids[index]))

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # another process has no access to a file that may be deleted


def _row(found):
    """Returns an object as the values of a row."""
    region, (y, x) = found.mask
    packed = zlib.compress(np.packbits(region).tobytes(), 1)
    box = np.asarray(found.box, float).tolist()
    return *box, float(found.score), int(found.label), y, x, *region.shape, packed
