"""All checks of a COCO json, one entry at a time.

`coco_json` raises the first error. The doctor goes on and collects all errors. Each error has a
kind, by which the doctor counts. Parts that training cannot use are no errors: they are left out
for a reason.
"""

import array
import os
import reprlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_api

from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import MAX_PIXELS
from keras_maskrcnn.data.polygons import draw
from keras_maskrcnn.data.text import local_path
from keras_maskrcnn.ops import rle
from keras_maskrcnn.typing import Path, Size

# Index of the image, box [x1, y1, x2, y2], label, run lengths of the mask.
Instance = tuple[int, tuple[float, float, float, float], int, bytes | None]
MIN_BOX_SIDE = 1e-3  # pixels; a smaller box counts as a box without area

CROWD = "annotation with iscrowd=1"
NO_AREA = f"annotation whose box, clipped to the image, has a side below {MIN_BOX_SIDE} pixels"
NO_POLYGON = "annotation without a polygon of at least 3 points"
NO_MASK = "annotation without a mask pixel inside its box"
FEW_POINTS = "polygon of fewer than 3 points, in an annotation that has others"
NO_INSTANCE = "image without instances (keep_empty=False)"
BOXES_DO = "A Faster R-CNN (--preset=faster_rcnn_..., task='boxes', masks=False) needs no masks."
UNREADABLE = "annotation of an image that cannot be read (on_error='skip')"


def list_errors(content: Any, source: str) -> Iterator[DataError]:
    """Yields a DataError for each required list that is missing or broken in `content`."""
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            yield DataError(
                f"{source}: a COCO json is an object with a list of objects {key!r}."
                f" Received: {reprlib.repr(content if entries is None else entries)}.",
                "broken json",
            )
        elif key == "images" and not entries:
            yield DataError(f"{source}: there are no images. Received: images=[].", "broken json")


def read_category(category: Mapping[str, Any], names: dict[int, str], path: str) -> None:
    """Adds one category to `names`, a dict of id to name."""
    identity: Any = category.get("id")
    if not _is_integer(identity) or identity in names:
        raise DataError(
            f"{path}: every category needs its own integer id. Received: id={identity!r}.",
            "broken category id",
        )
    names[identity] = str(category.get("name", identity))


def order_categories(
    names: Mapping[int, str], category_ids: Sequence[int] | None, path: str
) -> tuple[int, ...]:
    """Returns the ids in the order of the labels: `category_ids`, or ascending if that is None."""
    ids = tuple(sorted(names) if category_ids is None else category_ids)
    if not ids or len(set(ids)) < len(ids):
        line = f"{path}: category ids must be distinct, at least one. Received: {ids}."
        raise DataError(line, "broken category id")
    return ids


def check_identity(
    entry: Mapping[str, Any], seen: Container[Any], path: str, kind: str
) -> int | str:
    """Returns the id of an image or annotation. The id must not be in `seen`."""
    identity: Any = entry.get("id")
    if not _is_integer(identity) and not isinstance(identity, str):
        raise DataError(
            f"{path}: every {kind} needs an id, an integer or a string. Received: id={identity!r}.",
            f"{kind} without id",
        )
    if identity in seen:
        raise DataError(
            f"{path}: {kind} {identity!r}: two {kind}s have this id.", f"duplicate {kind} id"
        )
    return identity


def with_local_path(image: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns an image of a json with its file_name in the separators of this system."""
    name = image.get("file_name")
    if not isinstance(name, str) or "\\" not in name:
        return image
    return {**image, "file_name": local_path(name, folder)}


def image_errors(
    image: Mapping[str, Any], where: str, max_pixels: int = MAX_PIXELS
) -> Iterator[DataError]:
    """Yields a DataError for each unusable field of an image, except its id."""
    name: Any = image.get("file_name")
    size: tuple[Any, Any] = (image.get("height"), image.get("width"))
    if not isinstance(name, str) or not name or "\0" in name:
        yield DataError(
            f"{where}: file_name must be a path. Received: file_name={name!r}.", "broken file name"
        )
    elif os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == os.pardir:
        yield DataError(
            f"{where}: file_name must lie inside the folder of images."
            f" Received: file_name={name!r}.",
            "path outside the folder",
        )
    expected = None
    if not all(_is_integer(side) and side > 0 for side in size):
        expected = "be positive integers"
    elif size[0] * size[1] > max_pixels:
        expected = f"have a product of at most {max_pixels}"
    if expected:
        yield DataError(
            f"{where}: height and width must {expected}."
            f" Received: height={size[0]!r}, width={size[1]!r}.",
            "broken image size",
        )


def reference_errors(
    annotation: Mapping[str, Any],
    where: str,
    image_of: Mapping[Any, int],
    label_of: Mapping[Any, int],
    masks: bool = True,
) -> Iterator[DataError]:
    """Yields a DataError for each missing field of an annotation, and for each unknown id in it.

    Args:
        annotation: dict.
        where: str. The beginning of error messages.
        image_of: dict of image id to index.
        label_of: dict of category id to label.
        masks: whether the annotation needs a segmentation.
    """
    for key in ("image_id", "category_id", "bbox", "segmentation"):
        if annotation.get(key) is None and (masks or key != "segmentation"):
            hint = f" {BOXES_DO}" if key == "segmentation" else ""
            yield DataError(f"{where}: {key} is missing.{hint}", "missing field")
    for key, known in (("image_id", image_of), ("category_id", label_of)):
        value = annotation.get(key)
        if value is not None and (isinstance(value, list | dict) or value not in known):
            kind = f"unknown {key.removesuffix('_id')}"
            yield DataError(f"{where}: unknown {key}. Received: {key}={value!r}.", kind)
    if annotation.get("iscrowd") not in (0, 1, None):
        value = reprlib.repr(annotation["iscrowd"])
        line = f"{where}: iscrowd must be 0 or 1. Received: iscrowd={value}."
        yield DataError(line, "broken iscrowd")


def read_annotation(
    annotation: Mapping[str, Any],
    where: str,
    image_of: Mapping[Any, int],
    sizes: Sequence[Size],
    label_of: Mapping[Any, int],
    masks: bool = True,
) -> tuple[Instance | None, list[str]]:
    """Reads one annotation, except its id.

    Args:
        annotation, where, image_of, label_of: as in `reference_errors`.
        sizes: (height, width) of each image.
        masks: whether the annotation needs a mask.

    Returns:
        instance: (index of the image, box, label, counts); counts is None without masks. None
            instead of a tuple if the whole annotation is left out.
        reasons: list of str, one for each part that is left out.

    Raises:
        DataError: if the annotation cannot be used.
    """
    raise_first(reference_errors(annotation, where, image_of, label_of, masks))
    image = image_of[annotation["image_id"]]
    if annotation.get("iscrowd"):
        return None, [CROWD]
    box = read_box(annotation["bbox"], *sizes[image], where)
    if box[2] - box[0] < MIN_BOX_SIDE or box[3] - box[1] < MIN_BOX_SIDE:
        return None, [NO_AREA]
    label = label_of[annotation["category_id"]]
    if not masks:
        return (image, box, label, None), []
    counts, short = read_segmentation(annotation["segmentation"], *sizes[image], where)
    if counts is None:
        return None, [NO_POLYGON]
    reasons = [FEW_POINTS] * short
    if not rle.touches(counts, box, *sizes[image]):
        return None, [*reasons, NO_MASK]
    return (image, box, label, counts), reasons


def raise_first(errors: Iterable[Exception]) -> None:
    """Raises the first of these errors, if there is any."""
    for error in errors:
        raise error


def read_box(bbox: Any, height: int, width: int, where: str) -> tuple[float, float, float, float]:
    """Turns COCO's [x, y, width, height] into [x1, y1, x2, y2], clipped to the image."""
    numbers = _numbers(bbox)
    if numbers is None or len(numbers) != 4:
        raise DataError(
            f"{where}: bbox must be 4 finite numbers [x, y, width, height]."
            f" Received: bbox={reprlib.repr(bbox)}.",
            "broken bbox",
        )
    x, y, w, h = numbers.tolist()
    right, bottom = float(width), float(height)
    x1, x2 = (min(max(v, 0.0), right) for v in (x, x + w))
    y1, y2 = (min(max(v, 0.0), bottom) for v in (y, y + h))
    return x1, y1, x2, y2


def read_segmentation(
    segmentation: Any, height: int, width: int, where: str
) -> tuple[bytes | None, int]:
    """Returns compressed run lengths, or None if empty, and the number of too short polygons."""

    def error(expected, kind):
        received = reprlib.repr(segmentation)
        return DataError(f"{where}: {expected}. Received: segmentation={received}.", kind)

    if isinstance(segmentation, list):
        polygons = [_numbers(polygon) for polygon in segmentation]
        if any(polygon is None or len(polygon) % 2 for polygon in polygons):
            expected = "segmentation must be polygons [x1, y1, x2, y2, ...] of finite numbers"
            raise error(expected, "broken polygon")
        # pycocotools makes points along every edge: 1e18 would take all memory before it fails.
        reach = max(height, width)
        if any(p.size and (p.min() < -reach or p.max() > 2 * reach) for p in polygons):
            raise error("polygon far outside the image", "polygon outside the image")
        long = [polygon.tolist() for polygon in long_polygons(polygons)]
        if not long:
            return None, 0
        return draw(long, height, width), len(polygons) - len(long)
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        expected = "segmentation must be a list of polygons, or an object of size and counts"
        raise error(expected, "broken segmentation")
    if segmentation["size"] != [height, width]:
        raise error(f"segmentation must have the image's size {[height, width]}", "RLE size")
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
        runs = rle.run_lengths(counts)
    else:
        runs = _numbers(counts)
    # pycocotools reads beyond its memory if the lengths do not add up.
    area = height * width
    whole = runs is not None and runs.dtype.kind in "iu"
    if runs is None or not whole or runs.min() < 0 or runs.max() > area or runs.sum() != area:
        raise error("counts must be run lengths that cover the image exactly", "broken RLE")
    if isinstance(counts, list):
        counts = mask_api.frPyObjects(segmentation, height, width)["counts"]
    return counts, 0


def has_area(annotation: Mapping[str, Any]) -> bool:
    """Whether the area of an annotation is a number that an object can have."""
    area = annotation.get("area")
    return isinstance(area, int | float) and 0 <= area < np.inf


def long_polygons(polygons: Iterable[Any]) -> list[Any]:
    """Returns the polygons [x1, y1, x2, y2, ...] that have at least 3 points."""
    return [polygon for polygon in polygons if len(polygon) >= 6]


def no_instances(source: str, dropped: Mapping[str, int], has_masks: bool) -> DataError:
    """Makes the DataError for a data set without any instance; see `require_instances`."""
    hints = []
    if CROWD in dropped:
        hints.append(" To read crowds as single objects, pass crowds='objects' (--crowds=objects).")
    if has_masks and NO_POLYGON in dropped:
        hints.append(f" {BOXES_DO}")
    counts = "; ".join(f"{count} dropped: {reason}" for reason, count in dropped.items())
    return DataError(
        f"{source}: no instance is left to learn from.{''.join(hints)}"
        f" Received: {counts or 'no annotations'}.",
        "no instance left",
    )


def _numbers(value):
    """Returns a list of finite numbers as an (n,) array, or None for anything else."""
    if not isinstance(value, list | array.array):
        return None
    try:
        numbers = np.array(value)
    except ValueError:  # ragged
        return None
    numeric = numbers.ndim == 1 and numbers.dtype.kind in "iuf"
    return numbers if numeric and np.isfinite(numbers).all() else None


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)
