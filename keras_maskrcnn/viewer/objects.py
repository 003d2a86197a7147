"""Files of JavaScript with the objects of an image: boxes, scores, labels, areas and outlines."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.typing import Path
from keras_maskrcnn.viewer.chosen import labels_of
from keras_maskrcnn.viewer.outline import outlines

CHUNK = 5000  # objects in a file, so that neither Python nor the browser needs all at once


def write_objects(folder: Path, found: Mapping[str, Any], shown: np.ndarray) -> list[str]:
    """Writes 0.js, 1.js, ..., with calls of `addObjects`.

    A page can load scripts from a disk, but not JSON files. The argument is a string with a JSON
    object of lists, because browsers read that faster than a literal.

    Args:
        folder: str or PathLike. Exists.
        found: dict as `predict_image` returns it; "scores" and "masks" may be absent.
        shown: (n,) int. Indices of the objects to write, in this order.

    Returns:
        list of str. The names of the files.
    """
    names: list[str] = []
    for start in range(0, len(shown), CHUNK):
        names.append(f"{len(names)}.js")
        chunk = _columns(found, shown[start : start + CHUNK])
        with open(os.path.join(folder, names[-1]), "w", encoding="ascii") as file:
            file.write(f"addObjects('{_json(chunk)}');\n")
    return names


def _json(columns):
    return json.dumps(columns, separators=(",", ":"), allow_nan=False)


def _columns(found, indices):
    """Returns a dict of lists; "outlines" is one flat list of all.

    Each object has the number of its lines, and each line the number of its corners, the first x
    and y, and then the moves: along x, along y, along x, ... without the move that closes it.
    """
    boxes = np.asarray(found["boxes"], np.float64).reshape(-1, 4)[indices]
    columns = {
        "boxes": np.round(boxes, 1).ravel().tolist(),
        "labels": labels_of(found)[indices].tolist(),
    }
    if found.get("scores") is not None:
        # As short as float32 allows, and not rounded: the slider must agree with Python.
        scores = np.asarray(found["scores"], np.float32)[indices]
        columns["scores"] = [float(str(score)) for score in scores]
    if found.get("masks") is not None:
        areas, lines = [], []
        for i in indices:
            region, (top, left) = found["masks"].crop(i)
            areas.append(int(region.sum()))
            lines += _numbers(outlines(region), int(top), int(left))
        columns |= {"areas": areas, "outlines": lines}
    return columns


def _numbers(rings, top, left):
    numbers = [len(rings)]
    for ring in rings:
        moves = np.diff(ring, axis=0)
        numbers += (len(ring), int(ring[0, 0]) + left, int(ring[0, 1]) + top)
        numbers += np.where(np.arange(len(moves)) % 2, moves[:, 1], moves[:, 0]).tolist()
    return numbers
