"""Reads COCO results that somebody gives as a file or a list, and checks them."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_maskrcnn.data.coco_checks import read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import Path

SHAPES = {"bbox": "bbox", "segm": "segmentation"}
"""The field of a result that each IoU type needs."""


def read_result_list(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Mapping[str, Any],
    name: str = "results",
    needed: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Reads COCO results, and checks that they belong to an annotation file.

    Args:
        results: list of COCO results, which is not changed, or the path of a json file with it. The
            `predictions.json` of `keras-maskrcnn predict` also works: it has `file_name` in place
            of `image_id`.
        annotations: dict. The content of the COCO annotation file.
        name: str. What error messages call a list.
        needed: sequence of str. More fields that each result must have.

    Returns:
        list of COCO results, each with image_id, category_id and score.

    Raises:
        DataError: if a result lacks a field, or its image or category is not in `annotations`.
    """
    where = name
    if isinstance(results, str | os.PathLike):
        where, results = os.fspath(results), read_json(results)
    if not isinstance(results, Sequence):
        raise DataError(f"{where}: a list of results is expected. Received: {type(results)}.")
    images = annotations.get("images", [])
    ids = {image["id"] for image in images}
    categories = {category["id"] for category in annotations.get("categories", [])}
    by_name = {_plain(image["file_name"]): image["id"] for image in images if "file_name" in image}
    sizes = {
        image["id"]: (image["height"], image["width"])
        for image in images
        if image.get("height") and image.get("width")
    }
    checked = []
    for i, given in enumerate(results):
        if not isinstance(given, Mapping):
            raise DataError(f"{where}: results[{i}] must be a dict. Received: {type(given)}.")
        result = dict(given)
        if "image_id" not in result and "file_name" in result:
            result["image_id"] = by_name.get(_plain(result.pop("file_name")))
            if result["image_id"] is None:
                raise DataError(
                    f"{where}: results[{i}]: the annotations have no such image. "
                    f"Received: file_name={given['file_name']!r}."
                )
        for field, known in (("image_id", ids), ("category_id", categories)):
            if result.get(field) not in known:
                raise DataError(
                    f"{where}: results[{i}]: {field} must be in the annotations. "
                    f"Received: {field}={result.get(field)!r}."
                )
        score = result.get("score")
        if not isinstance(score, int | float) or not math.isfinite(score):
            raise DataError(
                f"{where}: results[{i}]: score must be a finite number. Received: score={score!r}."
            )
        for field in needed:
            if result.get(field) is None:
                raise DataError(f"{where}: results[{i}]: {field} is missing.")
        if result.get("segmentation") is not None and result["image_id"] in sizes:
            read_segmentation(
                result["segmentation"], *sizes[result["image_id"]], f"{where}: results[{i}]"
            )
        checked.append(result)
    return checked


def _plain(file_name):
    """Returns a path with "/" and without "./", as json files of other systems may differ."""
    return pathlib.PurePosixPath(str(file_name).replace("\\", "/")).as_posix()


def shared_types(*lists: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the IoU types ("bbox", "segm") for which every result has a shape.

    Args:
        *lists: sequences of COCO results. Lists without a result fit all types.
    """
    return [
        iou_type
        for iou_type, field in SHAPES.items()
        if all(result.get(field) is not None for results in lists for result in results)
    ]
