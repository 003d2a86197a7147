"""The masks of each image: annotated, to ignore, and found. Most measures of masks begin here."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_maskrcnn.data.coco_checks import read_segmentation
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.evaluation.coco_objects import load_annotations
from keras_maskrcnn.evaluation.result_lists import read_result_list
from keras_maskrcnn.typing import Path, Size

Rle = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ImageObjects:
    """The masks of one image, as COCO's compressed run lengths.

    Attributes:
        image_id: int or str.
        size: (height, width).
        true: list of the annotated objects.
        true_classes: (n,) int. Their category ids.
        crowds: list of the regions to ignore: crowds, and objects that have no outline.
        crowd_classes: (c,) int.
        found: list of the detections, by falling score.
        found_classes: (m,) int.
        scores: (m,) float.
    """

    image_id: Any
    size: Size
    true: list[Rle]
    true_classes: np.ndarray
    crowds: list[Rle]
    crowd_classes: np.ndarray
    found: list[Rle]
    found_classes: np.ndarray
    scores: np.ndarray

    def ious(self) -> np.ndarray:
        """Returns the (found, true) IoU of all masks."""
        if not self.found or not self.true:
            return np.zeros((len(self.found), len(self.true)))
        return coco_mask.iou(self.found, self.true, [0] * len(self.true))

    def overlaps(self) -> np.ndarray:
        """Counts the pixels that each annotated and each found object share.

        In both pictures a pixel belongs to one object only: to the smallest annotated one, and to
        the found one with the highest score. Microscopy and panoptic segmentation demand that.

        Returns:
            (1 + true, 1 + found) int64. Row and column 0 are the background.
        """
        areas = coco_mask.area(self.true) if self.true else []
        by_area = np.argsort(-np.asarray(areas, np.int64), kind="stable")
        true = self._labels(self.true, by_area)
        found = self._labels(self.found, np.arange(len(self.found))[::-1])
        shape = len(self.true) + 1, len(self.found) + 1
        cells = true.astype(np.int64) * shape[1] + found
        return np.bincount(cells.ravel(), minlength=shape[0] * shape[1]).reshape(shape)

    def _labels(self, masks, order):
        """Draws masks in an order, the last one on top. Returns (H, W) int32, 0 for background."""
        labels = np.zeros(self.size, np.int32)
        for i in order.tolist():
            labels[coco_mask.decode(masks[i]) > 0] = i + 1
        return labels


def read_both(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    iou_type: str,
    score_threshold: float,
) -> tuple[COCO, list[dict[str, Any]]]:
    """Reads the annotations, and the detections that reach a score.

    Args:
        results: list of COCO results, or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        iou_type: "bbox" or "segm".
        score_threshold: float in [0, 1].

    Raises:
        DataError: if a field is missing.
        ValueError: if the threshold is out of its range.
    """
    if not 0 <= score_threshold <= 1:
        raise ValueError(
            f"score_threshold must be in 0..1. Received: score_threshold={score_threshold!r}."
        )
    content = annotations if isinstance(annotations, dict) else read_json(annotations)
    checked = read_result_list(results, content)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = load_annotations(content, iou_type)
    return truth, [result for result in checked if result["score"] >= score_threshold]


def read_images(
    results: Path | Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    score_threshold: float,
    image_ids: Sequence[Any] | None = None,
    category_ids: Sequence[int] | None = None,
) -> Iterator[ImageObjects]:
    """Yields the masks of each image, in the order of the file.

    Args:
        results: list of COCO results with "segmentation", or the path of a json file with it.
        annotations: path of the COCO annotation file, or its content.
        score_threshold: float in [0, 1]. Detections with a lower score are left out.
        image_ids, category_ids: sequences of the ids that count; None for all.

    Raises:
        DataError: if a mask or another field is missing, or an image has no size.
        ValueError: if the threshold is out of its range.
    """
    truth, confident = read_both(results, annotations, "segm", score_threshold)
    kept = set(truth.cats if category_ids is None else category_ids)
    by_image: dict[Any, list[dict[str, Any]]] = {}
    for result in confident:
        if result["category_id"] in kept:
            by_image.setdefault(result["image_id"], []).append(result)
    for image_id in truth.imgs if image_ids is None else image_ids:
        yield _read(truth, image_id, by_image.get(image_id, []), kept)


def _read(truth, image_id, results, kept):
    """Makes the ImageObjects of one image."""
    image = truth.imgs[image_id]
    size = image.get("height"), image.get("width")
    if None in size:
        raise DataError(f"image {image_id!r}: height and width are missing.")
    entries = [a for a in truth.imgToAnns[image_id] if a["category_id"] in kept]
    real = [a for a in entries if not a["iscrowd"]]
    crowds = [a for a in entries if a["iscrowd"]]
    results = sorted(results, key=lambda result: -result["score"])  # stable
    if any(result.get("segmentation") is None for result in results):
        raise DataError(f"results of image {image_id!r}: segmentation is missing.")

    def masks(some):
        return [_run_lengths(entry["segmentation"], size, image_id) for entry in some]

    def classes(some):
        return np.array([entry["category_id"] for entry in some], np.int64)

    return ImageObjects(
        image_id,
        size,
        masks(real),
        classes(real),
        masks(crowds),
        classes(crowds),
        masks(results),
        classes(results),
        np.array([result["score"] for result in results], np.float64),
    )


def _run_lengths(segmentation, size, image_id):
    """Returns compressed run lengths of any segmentation; an empty mask for no outline."""
    counts, _ = read_segmentation(segmentation, size[0], size[1], f"image {image_id!r}")
    if counts is None:
        return coco_mask.encode(np.zeros(size, np.uint8, order="F"))
    return {"size": list(size), "counts": counts}
