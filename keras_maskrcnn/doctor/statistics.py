"""Computes the tables of the report from the whole data set."""

import dataclasses
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.coco import coco_dict
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.tile_cutting import cut_into_tiles
from keras_maskrcnn.data.tile_grid import tile_and_overlap
from keras_maskrcnn.doctor.anchor_fit import anchor_overlaps
from keras_maskrcnn.doctor.findings import ERROR, SEVERITIES, Examination, Problem

SIZE_BINS = (0, 8, 16, 32, 64, 128, 256, 512)  # pixels, the lower ends


def summarize_counts(counts: np.ndarray, slots: int | None) -> dict[str, Any] | None:
    """Summarizes the instances per image, and compares them with the slots of a batch.

    Args:
        counts: (I,) int. Instances of each image.
        slots: int, or None for as many as needed.

    Returns:
        dict, or None without images.
    """
    if not len(counts):
        return None
    over = counts[counts > (slots or np.inf)]
    return {
        "min": int(counts.min()),
        "median": float(np.median(counts)),
        "p95": float(np.percentile(counts, 95)),
        "max": int(counts.max()),
        "total": int(counts.sum()),
        "slots": slots,
        "images_over": len(over),
        "instances_without_slot": int((over - (slots or 0)).sum()),
    }


def count_classes(found: Examination) -> list[dict[str, Any]]:
    """Counts the instances and images of each class."""
    instances = np.bincount(found.labels, minlength=len(found.class_names) + 1)
    pairs = np.unique(np.stack([found.labels, found.image_index]), axis=1)
    images = np.bincount(pairs[0], minlength=len(instances))
    return [
        {
            "id": identity,
            "name": found.class_names[label - 1],
            "instances": int(instances[label]),
            "images": int(images[label]),
        }
        for identity, label in found.label_of.items()
    ]


def measure_sizes(
    found: Examination, anchors: Mapping[str, Any] | None, tiles: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Measures anchor recall by object size after resizing. None without anchors or instances.

    Args:
        found: `Examination`.
        anchors, tiles: as in `examine`. With tiles, each box is that in the first tile that shows
            its upper left corner.
    """
    if anchors is None or not len(found.entries):
        return None
    sizes = np.array([found.sizes[i] for i in found.image_index])
    boxes = found.boxes
    if tiles is not None:
        boxes, sizes = _in_tiles(boxes, sizes, tiles)
    resized, overlaps = anchor_overlaps(boxes, sizes, **anchors)
    sides = np.sqrt((resized[:, 2:] - resized[:, :2]).prod(axis=1))
    bins = np.searchsorted(SIZE_BINS, sides, side="right") - 1

    def row(low, high, chosen):
        best = overlaps[chosen]
        return {
            "from": low,
            "to": high,
            "instances": len(best),
            "recall_0.7": float((best >= 0.7).mean()),
            "recall_0.5": float((best >= 0.5).mean()),
            "mean_iou": float(best.mean()),
        }

    ends = [*SIZE_BINS[1:], None]
    rows = [row(SIZE_BINS[i], ends[i], bins == i) for i in np.unique(bins)]
    return {"bins": rows, "all": row(0, None, np.ones(len(bins), bool))}


def _in_tiles(boxes, sizes, tiles):
    """Returns each box in pixels of a tile, and the (height, width) of that tile."""
    tile, overlap = tile_and_overlap(tiles["tile"], tiles.get("overlap"))
    step = np.subtract(tile, overlap)
    shown = np.minimum(sizes, tile)
    corners = np.minimum(boxes[:, 1::-1] // step * step, sizes - shown)
    moved = boxes - np.tile(corners[:, ::-1], 2)
    return np.minimum(moved, np.tile(shown[:, ::-1], 2)), shown


def count_tiles(
    found: Examination, problems: Sequence[Problem], tiles: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Counts what becomes of the objects in tiles: the fields of `TileCounts`, and its `text`.

    Args:
        found: `Examination`.
        problems: list of Problem. With an error among them nothing is counted.
        tiles: as in `examine`.

    Returns:
        dict; None without tiles, or with an error.
    """
    if tiles is None or any(problem.severity == ERROR for problem in problems):
        return None
    options: Any = {"masks": found.masks, "crowds": found.crowds, "check_images": False}
    dataset = coco_dict(found.images, found.content, source=found.annotations, **options)
    try:
        counts = cut_into_tiles(dataset, **tiles).counts
    except DataError as error:
        return {"text": str(error)}
    return {"text": counts.report(), **dataclasses.asdict(counts)}


def count_problems(problems: Sequence[Problem], content: dict[str, Any]) -> dict[str, Any]:
    """Lists problems with ids instead of indices, and counts them by severity and kind."""
    listed = []
    kinds: dict[str, dict[str, Any]] = {}
    for problem in problems:
        entry = {"kind": problem.kind, "severity": problem.severity, "line": problem.line}
        kind = kinds.setdefault(problem.kind, {**entry, "count": 0, "examples": []})
        identity = None
        if problem.image is not None:
            image = content["images"][problem.image]
            identity = entry["image_id"] = _plain(image.get("id"))
            entry["file_name"] = _plain(image.get("file_name"))
        if problem.annotation is not None:
            annotation = content["annotations"][problem.annotation]
            identity = entry["annotation_id"] = _plain(annotation.get("id"))
        listed.append(entry)
        kind["count"] += 1
        if identity is not None and len(kind["examples"]) < 3:
            kind["examples"].append(identity)
    severities = {s: sum(p.severity == s for p in problems) for s in SEVERITIES}
    return {"severities": severities, "kinds": list(kinds.values()), "problems": listed}


def _plain(value):
    """Returns a value that can be an id or a name unchanged, and anything else as a short text."""
    return value if isinstance(value, int | str | None) else reprlib.repr(value)
