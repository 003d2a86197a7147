"""Writes and reads proposals in folders. docs/proposals.md describes the format.

Boxes are [x1, y1, x2, y2] in pixels of the original images.
"""

import functools
import json
import os
import re
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from keras_maskrcnn import files
from keras_maskrcnn.data import archives
from keras_maskrcnn.data.detectron2_proposals import read_detectron2
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.typing import Path, Proposals

FORMAT, VERSION = "keras_maskrcnn.proposals", 1
INDEX = "index.json"


def _shard_name(number, count):
    return f"proposals-{number:05d}-of-{count:05d}.npz"


class ProposalWriter:
    """Context manager that writes the proposals of images into a folder, in a fixed order.

    The index is written when the context ends without an error. A folder without index cannot be
    read, so the incomplete files of an interrupted run are never used.

    Args:
        path: str. The folder.
        image_ids: sequence of distinct ids, all int or all str. Images are added in this order.
        overwrite: bool. Whether to remove older proposals in the folder.
        images_per_shard: int. To read one image, a whole shard is decompressed.

    Raises:
        FileExistsError: if the folder holds proposals and `overwrite` is False.
        ValueError: if ids or proposals are not as described.
    """

    def __init__(
        self,
        path: Path,
        image_ids: Sequence[int | str],
        *,
        overwrite: bool = False,
        images_per_shard: int = 32,
    ) -> None:
        ids = np.array(image_ids)
        self._path, self._ids = os.fspath(path), ids.tolist()
        # NumPy turns a mixture of types into strings, and too large numbers into objects.
        plain = ids.dtype.kind in "iuU" and self._ids == list(image_ids)
        if not plain or len(set(self._ids)) < len(self._ids):
            raise ValueError(
                "image_ids must be distinct, and all int or all str."
                f" Received: image_ids={reprlib.repr(image_ids)}."
            )
        if images_per_shard < 1:
            raise ValueError(
                f"images_per_shard must be positive. Received: images_per_shard={images_per_shard}."
            )
        self._shard_size = images_per_shard
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []  # boxes, scores
        self._done = 0
        os.makedirs(self._path, exist_ok=True)
        # Also the unfinished files of a killed run; version 0.1 named them NAME.new.
        ours = re.compile(
            rf"({files.UNFINISHED}[0-9a-f]+\.)?({re.escape(INDEX)}|proposals-\d+-of-\d+\.npz)(\.new)?"
        )
        old = sorted(name for name in os.listdir(self._path) if ours.fullmatch(name))
        if old and not overwrite:
            raise FileExistsError(
                f"{self._path} holds proposals of an earlier run: overwrite them, or choose another"
                f" folder. Received: overwrite={overwrite}."
            )
        for name in old:  # the index is first, so there is never an index without its shards
            os.remove(os.path.join(self._path, name))

    def add(self, image_id: int | str, boxes: np.ndarray, scores: np.ndarray) -> None:
        """Adds the next image.

        Args:
            image_id: int or str.
            boxes: (n, 4) float [x1, y1, x2, y2] in pixels of the original image; n may be 0.
            scores: (n,) float, higher is better.

        Raises:
            ValueError: if it is not the next of `image_ids`, or boxes and scores are not as
                described.
        """
        if self._done == len(self._ids) or image_id != self._ids[self._done]:
            raise ValueError(
                f"images must be added in the order of image_ids. Received: image_id={image_id!r}."
            )
        self._pending.append(_checked(boxes, scores, f"{self._path}: image {image_id!r}"))
        self._done += 1
        if len(self._pending) == self._shard_size or self._done == len(self._ids):
            self._write_shard()

    def _write_shard(self):
        boxes, scores = zip(*self._pending, strict=True)
        number = (self._done - 1) // self._shard_size
        arrays: dict[str, Any] = {
            "image_ids": np.array(self._ids[self._done - len(boxes) : self._done]),
            "counts": np.array([len(of_image) for of_image in boxes], np.int32),
            "boxes": np.concatenate(boxes),
            "scores": np.concatenate(scores),
        }
        name = _shard_name(number, -(-len(self._ids) // self._shard_size))
        with files.replacing(os.path.join(self._path, name)) as new:
            np.savez_compressed(new, **arrays)
        self._pending = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        if error:
            return
        if self._done < len(self._ids):
            raise ValueError(
                f"every image must be added. Received: {self._done} of {len(self._ids)}."
            )
        starts = range(0, len(self._ids), self._shard_size)
        index = {
            "format": FORMAT,
            "version": VERSION,
            "num_images": len(self._ids),
            "boxes": "float32 [x1, y1, x2, y2] in pixels of the original image",
            "scores": "float32, higher is better",
            "shards": [self._ids[start : start + self._shard_size] for start in starts],
        }
        files.write_json(os.path.join(self._path, INDEX), index)


class ProposalFile:
    """The proposals of many images, by image id. `read_proposals` makes it."""

    def __init__(
        self,
        path: Path,
        places: Mapping[int | str, Any],
        load: Callable[[Any], tuple[np.ndarray, np.ndarray]],
    ) -> None:
        self.path = path
        self._places = places  # image id -> the argument of `load`
        self._load = load

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """Tuple of the images' ids, int or str."""
        return tuple(self._places)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._places)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._places

    def get(self, image_id: int | str) -> tuple[np.ndarray, np.ndarray]:
        """Reads the n proposals of one image, highest score first.

        Args:
            image_id: int or str.

        Returns:
            boxes: (n, 4) float32 [x1, y1, x2, y2] in pixels of the original image; n may be 0.
            scores: (n,) float32.

        Raises:
            DataError: if the image has no proposals, or its file is broken.
        """
        check_images(self, [image_id])
        where = f"{self.path}: image {image_id!r}"
        boxes, scores = _checked(*self._load(self._places[image_id]), where)
        order = np.argsort(-scores, kind="stable")
        return boxes[order], scores[order]


def read_proposals(path: Path) -> ProposalFile:
    """Opens a folder of proposals, or a pickle file of detectron2 or Detectron.

    For a folder, only the index is read now. A shard is read when one of its images is needed, and
    the last few shards are kept in memory. A pickle is read completely; nothing in it is executed.

    Args:
        path: str or PathLike. A folder that `ProposalWriter` or `propose` wrote, or a .pkl file.

    Returns:
        `ProposalFile`.

    Raises:
        DataError: if the file is missing, broken, incomplete, or of another format or version, or
            if its pickle wants to call a function.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return _open_folder(path)
    return ProposalFile(path, read_detectron2(path), lambda found: found)


def check_images(proposals: Proposals, image_ids: Iterable[int | str]) -> None:
    """Checks that every image has an entry with proposals; the entry may be empty.

    Args:
        proposals: `ProposalFile`, or a dict of image id to (boxes, scores).
        image_ids: sequence of int or str.

    Raises:
        DataError: if images have no entry. The message names the first one.
    """
    missing = [image_id for image_id in image_ids if image_id not in proposals]
    if missing:
        raise DataError(
            f"{getattr(proposals, 'path', 'proposals')}: no proposals for {len(missing)} images."
            f" Received: image_id={missing[0]!r}."
        )


def _checked(boxes, scores, where):
    """Returns boxes (n, 4) and scores (n,) as finite float32. Raises DataError for other values."""
    boxes, scores = np.asarray(boxes), np.asarray(scores)
    numbers = boxes.dtype.kind in "fiu" and scores.dtype.kind in "fiu"
    if not numbers or scores.ndim != 1 or boxes.shape != (*scores.shape, 4):
        raise DataError(
            f"{where}: boxes must be (n, 4) numbers and scores (n,). Received:"
            f" boxes of {boxes.shape} {boxes.dtype}, scores of {scores.shape} {scores.dtype}."
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DataError(f"{where}: boxes and scores must be finite.")
    return boxes.astype(np.float32), scores.astype(np.float32)


def _open_folder(path):
    shards = _read_index(os.path.join(path, INDEX))
    places = {
        image_id: (number, row)
        for number, ids in enumerate(shards)
        for row, image_id in enumerate(ids)
    }

    @functools.lru_cache(maxsize=8)  # in the order of the data set, each shard is read once
    def shard(number):
        name = os.path.join(path, _shard_name(number, len(shards)))
        return _read_shard(name, shards[number])

    def load(place):
        number, row = place
        offsets, boxes, scores = shard(number)
        ours = slice(offsets[row], offsets[row + 1])
        return boxes[ours], scores[ours]

    return ProposalFile(path, places, load)


def _read_index(path):
    """Returns the image ids of every shard."""
    try:
        with open(path, encoding="utf-8") as file:
            index = json.load(file)
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file: the folder holds no proposals, or the run that wrote"
            " them was interrupted and must be repeated."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as json. Received: {error}.") from error
    found = index.get("format") if isinstance(index, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: not an index of proposals. Received: format={found!r}.")
    if index.get("version") != VERSION:
        raise DataError(
            f"{path}: this release reads version {VERSION}."
            f" Received: version={index.get('version')!r}."
        )
    shards = index.get("shards")
    lists = isinstance(shards, list) and all(isinstance(ids, list) for ids in shards)
    ids = [image_id for ids in shards for image_id in ids] if lists else [None]
    whole = all(type(i) in (int, str) for i in ids) and len(set(ids)) == len(ids)
    if not whole or len(ids) != index.get("num_images"):
        raise DataError(f"{path}: shards must be lists of num_images distinct ids, int or str.")
    return shards


def _read_shard(path, image_ids):
    """Returns offsets (i + 1,), boxes (n, 4) and scores (n,) of i images."""
    try:
        with archives.load_npz(path) as arrays:
            names = ("image_ids", "counts", "boxes", "scores")
            ids, counts, boxes, scores = (arrays[name] for name in names)
        if ids.tolist() != image_ids:
            raise ValueError("image_ids that differ from the index")
        if counts.shape != ids.shape or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise ValueError(f"counts of {counts.shape} {counts.dtype} for {len(ids)} images")
        if not len(boxes) == len(scores) == counts.sum():
            raise ValueError(f"{len(boxes)} boxes, {len(scores)} scores, counts {counts.sum()}")
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen kinds of errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: shard cannot be read. Received: {reason}.") from error
    return np.cumsum([0, *counts]), boxes, scores
