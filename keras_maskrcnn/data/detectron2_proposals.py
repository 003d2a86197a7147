"""Reads pickles of proposals from detectron2 and Detectron. Nothing in them is executed."""

import numpy as np

from keras_maskrcnn.data import archives, pickles
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.typing import Path

# detectron2 stores the mode of boxes as a number, or as a member of this enumeration.
_BOX_MODE = {("detectron2.structures.boxes", "BoxMode"): int}


def read_detectron2(path: Path) -> dict[int | str, tuple[np.ndarray, np.ndarray]]:
    """Reads a dict of "ids", "boxes", "objectness_logits" and "bbox_mode".

    Detectron's names "indexes" and "scores" are also accepted.

    Args:
        path: str.

    Returns:
        Dict of image id to a tuple of boxes, (n, 4) float32 [x1, y1, x2, y2] in pixels of the
            original image, and scores, (n,) float32.

    Raises:
        DataError: if the file is missing or broken, or its pickle wants to call a function.
    """
    try:
        with open(path, "rb") as file:
            tree = pickles.Unpickler(file, _BOX_MODE).load()
        return _parse(tree, archives.room(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such folder or file of proposals.") from error
    except pickles.Refused as error:
        raise DataError(f"{path} is refused: {error}") from error
    except Exception as error:  # pickle and NumPy raise a dozen kinds of errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: neither a folder of proposals nor a pickle of detectron2. Received: {reason}."
        ) from error


def _parse(tree, room):
    """Returns a dict of image id to (boxes, scores), at most `room` bytes in all.

    The limit is needed because a pickle may use one array many times.
    """
    if not isinstance(tree, dict):
        raise ValueError(f"a {type(tree).__name__}")
    names = {"indexes": "ids", "scores": "objectness_logits"}
    tree = {names.get(name, name): _plain(value) for name, value in tree.items()}
    missing = {"ids", "boxes", "objectness_logits"} - tree.keys()
    mode = tree.get("bbox_mode", 0)
    if not isinstance(mode, int):
        raise ValueError(f"a bbox_mode that is a {type(mode).__name__}")
    if missing or mode not in (0, 1):
        raise ValueError(f"a dict without {sorted(missing)}, bbox_mode={mode!r} (0 and 1 are read)")
    places = {}
    lists = zip(tree["ids"], tree["boxes"], tree["objectness_logits"], strict=True)
    for image_id, boxes, scores in lists:
        boxes, scores = _numbers(boxes).reshape(-1, 4), _numbers(scores).reshape(-1)
        room -= boxes.nbytes + scores.nbytes
        if room < 0:
            raise ValueError("far more numbers than the file can hold")
        if mode == 1:  # XYWH_ABS
            boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
        image_id = _plain(image_id)
        if type(image_id) not in (int, str):
            raise ValueError(f"an id that is a {type(image_id).__name__}")
        places[image_id] = boxes, scores
    return places


def _numbers(value):
    """Returns an array, a list of numbers, or a list of such lists, as float32."""
    value = _plain(value)
    if isinstance(value, list | tuple):  # no deeper: nested lists could be shared many times
        rows = [row if isinstance(row, list | tuple) else [row] for row in map(_plain, value)]
        if sum(map(len, rows)) > 4 * len(rows):
            raise ValueError("boxes with more than 4 numbers")
        value = [[float(_plain(number)) for number in row] for row in rows]
    return np.asarray(value, np.float32)


def _plain(value):
    """Returns a NumPy array or a number for its stand-in from the pickle; other values as given."""
    if isinstance(value, pickles.Array):
        return value.array()
    return value.item() if isinstance(value, pickles.Scalar | np.generic) else value
