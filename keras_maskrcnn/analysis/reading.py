"""Reads annotations and results into columns, for `matching`."""

import contextlib
import dataclasses
import io
import math
import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.analysis.run_lengths import cover_exactly
from keras_maskrcnn.data.coco_checks import read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.evaluation.coco_objects import load_annotations
from keras_maskrcnn.typing import Path

_CHUNK = 1000  # masks that are checked at once

Columns = dict[str, np.ndarray]
"""Arrays of one row per detection or object, by the names of `matching.Detections` or `Objects`."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """The images and categories of an annotation file that count.

    Attributes:
        where: str. What error messages call the file.
        iou_type, image_ids, file_names, sizes, category_ids, class_names: as in `matching.Matched`.
        all_images, all_categories: sets of all ids of the file.
    """

    where: str
    iou_type: str
    image_ids: tuple[Any, ...]
    file_names: tuple[str, ...]
    sizes: np.ndarray
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    all_images: frozenset[Any]
    all_categories: frozenset[int]

    def places(self) -> tuple[dict[Any, int], dict[int, int]]:
        """Returns the index of each image id and of each category id."""
        images = {identity: i for i, identity in enumerate(self.image_ids)}
        return images, {identity: i for i, identity in enumerate(self.category_ids)}


def read_objects(
    annotations: Path | dict[str, Any],
    iou_type: str,
    *,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    image_ids: Sequence[Any] | None = None,
) -> tuple[Frame, Columns, list[Any]]:
    """Reads the annotated objects, by image, and in an image in the order of the file.

    Args:
        annotations, iou_type, category_ids, class_names, image_ids: as in `matching.match`.

    Returns:
        `Frame`, the columns, and a list of what `pycocotools.mask.iou` takes: run lengths, or
            boxes [x, y, w, h].
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = load_annotations(annotations, iou_type)
    where = os.fspath(annotations) if not isinstance(annotations, dict) else "annotations"
    images, known = _chosen("image_ids", image_ids, truth.imgs, where), set(truth.cats)
    categories = _chosen("category_ids", category_ids, known, where)
    names = {i: str(truth.cats[i].get("name", i)) for i in categories}
    if class_names is not None:
        ids = categories if category_ids is None else category_ids
        names = dict(zip(ids, map(str, class_names), strict=True))
    entries = [truth.imgs[i] for i in images]
    frame = Frame(
        where,
        iou_type,
        tuple(images),
        tuple(str(entry.get("file_name", "")) for entry in entries),
        np.array([(e.get("height") or 0, e.get("width") or 0) for e in entries], np.int64).reshape(
            -1, 2
        ),
        tuple(categories),
        tuple(names[i] for i in categories),
        frozenset(truth.imgs),
        frozenset(known),
    )
    place_of_image, place_of_category = frame.places()
    rows, ignore, indices, shapes = [], [], [], []
    for identity, image in place_of_image.items():
        for annotation in truth.imgToAnns.get(identity, ()):
            category = place_of_category.get(annotation["category_id"])
            if category is None:
                continue
            index, shape = annotation["id"] - 1, list(annotation["bbox"])
            rows.append((image, category, *shape, annotation["area"]))
            if iou_type == "segm":
                line = f"{where}: annotations[{index}]"
                shape = _run_lengths(annotation["segmentation"], frame.sizes[image].tolist(), line)
            ignore.append(bool(annotation["iscrowd"]))
            indices.append(index)
            shapes.append(shape)
    columns = _columns(rows)
    columns["ignore"] = np.array(ignore, bool)
    columns["annotation"] = np.array(indices, np.int64)
    return frame, columns, shapes


def read_results(
    results: Sequence[Mapping[str, Any]], frame: Frame, max_detections: int
) -> tuple[Columns, list[Any]]:
    """Reads COCO results, by image, and in an image by falling score.

    Args:
        results, max_detections: as in `matching.match`.
        frame: `Frame` of the annotations.

    Returns:
        The columns, and a list of shapes, as from `read_objects`.
    """
    place_of_image, place_of_category = frame.places()
    key = "bbox" if frame.iou_type == "bbox" else "segmentation"
    rows, scores, indices, shapes = [], [], [], []
    for i, result in enumerate(results):
        where = f"results[{i}]"
        for name in ("image_id", "category_id", "score", key):
            if result.get(name) is None:
                raise DataError(f"{where}: {name} is missing.")
        image_id, category_id = result["image_id"], result["category_id"]
        score, shape = float(result["score"]), result[key]
        if image_id not in frame.all_images or category_id not in frame.all_categories:
            raise DataError(
                f"{where}: image_id and category_id must be in {frame.where}. "
                f"Received: image_id={image_id!r}, category_id={category_id!r}."
            )
        if not math.isfinite(score):
            raise DataError(f"{where}: score must be finite. Received: score={score!r}.")
        image, category = place_of_image.get(image_id), place_of_category.get(category_id)
        if image is None or category is None:
            continue
        rows.append((image, category, *(result.get("bbox") or [np.nan] * 4), 0.0))
        scores.append(score)
        indices.append(i)
        shapes.append(shape)
    columns = _columns(rows)
    if frame.iou_type == "segm":
        sizes = frame.sizes[columns["image"]]
        for i in range(0, len(shapes), _CHUNK):
            part = slice(i, i + _CHUNK)
            shapes[part] = _masks(shapes[part], sizes[part], indices[part])
    columns["score"] = np.array(scores, np.float64)
    columns["result"] = np.array(indices, np.int64)
    order = _kept(columns, max_detections)
    columns = {name: values[order] for name, values in columns.items()}
    columns["rank"] = _rank(columns["image"]).astype(np.int32)
    shapes = [shapes[i] for i in order.tolist()]
    _measure(columns, shapes, frame.iou_type)
    return columns, shapes


def _chosen(name, chosen, known, where):
    """Returns the ids that count, sorted, as COCOeval sorts them: numbers before text."""
    strange = [i for i in chosen or () if i not in known]
    if strange:
        raise ValueError(f"{name} must be in {where}. Received: {name}={reprlib.repr(strange)}.")
    return sorted(set(known if chosen is None else chosen), key=lambda i: (isinstance(i, str), i))


def _masks(segmentations, sizes, indices):
    """Returns the run lengths of results; those that are not sound are read one by one."""
    masks = []
    for one, size in zip(segmentations, sizes.tolist(), strict=True):
        counts = one.get("counts") if isinstance(one, dict) else None
        if isinstance(counts, str) and counts.isascii():
            counts = counts.encode()
        if isinstance(counts, bytes) and list(one.get("size") or ()) == size:
            masks.append({"size": size, "counts": counts})
    sound = len(masks) == len(segmentations)
    if sound and cover_exactly([mask["counts"] for mask in masks], sizes.prod(axis=1)):
        return masks
    return [
        _run_lengths(one, size, f"results[{i}]")
        for one, size, i in zip(segmentations, sizes.tolist(), indices, strict=True)
    ]


def _run_lengths(segmentation, size, where):
    """Returns what `pycocotools.mask` takes, of run lengths or polygons, after checking them."""
    height, width = size
    counts, _ = read_segmentation(segmentation, height, width, where)
    if counts is None:  # no polygon of 3 points
        return coco_mask.encode(np.zeros(size, np.uint8, order="F"))
    return {"size": size, "counts": counts}


def _columns(rows):
    """Makes columns of rows (image, category, x, y, width, height, area)."""
    values = np.array(rows, np.float64).reshape(-1, 7)
    x, y, width, height = values[:, 2:6].T
    return {
        "image": values[:, 0].astype(np.int32),
        "category": values[:, 1].astype(np.int32),
        "box": np.stack([x, y, x + width, y + height], axis=1),
        "area": values[:, 6].copy(),
    }


def _kept(columns, limit):
    """Returns the rows of the best `limit` detections of each image and class, in order."""
    order = np.lexsort((-columns["score"], columns["image"]))
    image, category = columns["image"][order], columns["category"][order]
    by_class = np.lexsort((category, image))  # stable: by falling score within a class
    place = np.empty(len(order), np.int64)
    place[by_class] = _rank(image[by_class], category[by_class])
    return order[place < limit]


def _rank(*keys):
    """Returns the place of each row in its group; rows of a group are neighbors."""
    count = len(keys[0])
    begins = np.ones(count, bool)
    begins[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.arange(count) - np.maximum.accumulate(np.where(begins, np.arange(count), 0))


def _measure(columns, shapes, iou_type):
    """Fills in the areas, and the boxes of masks that were given without."""
    box = columns["box"]
    if iou_type == "bbox":
        columns["area"][:] = np.prod(box[:, 2:] - box[:, :2], axis=1)
        return
    for i, shape in enumerate(shapes):
        columns["area"][i] = coco_mask.area(shape)
        if np.isnan(box[i, 0]):
            x, y, width, height = coco_mask.toBbox(shape)
            box[i] = x, y, x + width, y + height
