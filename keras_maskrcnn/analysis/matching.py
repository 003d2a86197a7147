"""Meets the detections of a data set with its annotated objects. All of `analysis` begins here.

The IoUs are pycocotools', computed once. What follows needs arrays only.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from keras_maskrcnn.analysis.reading import read_objects, read_results
from keras_maskrcnn.typing import Path


@dataclasses.dataclass(frozen=True)
class Detections:
    """The N detections of a data set, by image, and in an image by falling score.

    Attributes:
        image: (N,) int32. Index into `Matched.image_ids`.
        category: (N,) int32. Index into `Matched.category_ids`.
        score: (N,) float64.
        box: (N, 4) float64 [x1, y1, x2, y2] in pixels of the image.
        area: (N,) float64. Pixels of the mask, or of the box with `iou_type="bbox"`.
        rank: (N,) int32. Place in its image by score, among all classes; 0 is the best.
        result: (N,) int64. Index into the results that were given.
        iou: (N,) float64. The highest IoU with an object of its class; 0 if there is none.
        object: (N,) int64. Row of this object in `Matched.objects`, or -1.
        any_iou, any_object: the same for objects of all classes.
        crowd_iou: (N,) float64. The largest share of it that an ignored object of its class covers.
    """

    image: np.ndarray
    category: np.ndarray
    score: np.ndarray
    box: np.ndarray
    area: np.ndarray
    rank: np.ndarray
    result: np.ndarray
    iou: np.ndarray
    object: np.ndarray
    any_iou: np.ndarray
    any_object: np.ndarray
    crowd_iou: np.ndarray


@dataclasses.dataclass(frozen=True)
class Objects:
    """The M annotated objects of a data set, by image, and in an image as in the file.

    Attributes:
        image: (M,) int32. Index into `Matched.image_ids`.
        category: (M,) int32. Index into `Matched.category_ids`.
        box: (M, 4) float64 [x1, y1, x2, y2] in pixels of the image.
        area: (M,) float64. The file's "area", by which COCO decides about sizes.
        ignore: (M,) bool. A crowd, or with "segm" an object without an outline. Detections in it
            count neither as right nor as wrong.
        annotation: (M,) int64. Index into the annotations of the file.
        iou: (M,) float64. The highest IoU with a detection of its class; 0 if there is none.
        detection: (M,) int64. Row of this detection in `Matched.detections`, or -1.
    """

    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    area: np.ndarray
    ignore: np.ndarray
    annotation: np.ndarray
    iou: np.ndarray
    detection: np.ndarray


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The P pairs of a detection and an object of the same image, of any classes, that overlap.

    Attributes:
        detection: (P,) int64. Row in `Matched.detections`. It never falls.
        object: (P,) int64. Row in `Matched.objects`. It rises within a detection.
        iou: (P,) float64 above 0. For an ignored object, the share of the detection that it covers.
    """

    detection: np.ndarray
    object: np.ndarray
    iou: np.ndarray


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which object each detection found, at one IoU threshold.

    Attributes:
        object: (N,) int64. Row of the object that a detection matches, or -1.
        ignored: (N,) bool. The match is an ignored object: the detection does not count.
        detection: (M,) int64. Row of the detection that found an object, or -1. -1 for all
            ignored objects, which several detections may match.
    """

    object: np.ndarray
    ignored: np.ndarray
    detection: np.ndarray


@dataclasses.dataclass(frozen=True)
class Matched:
    """Detections, objects, and their overlaps.

    Attributes:
        iou_type: "segm" or "bbox".
        image_ids: tuple of the images' ids, sorted as pycocotools sorts them.
        file_names: tuple of str. File name of each image; "" where the file tells none.
        sizes: (I, 2) int64 (height, width) of each image; 0 where the file tells none.
        category_ids: tuple of int, ascending.
        class_names: tuple of str. Name of each category.
        max_detections: int. Detections per image and class that were kept.
        detections, objects, pairs: `Detections`, `Objects` and `Pairs`.
    """

    iou_type: str
    image_ids: tuple[Any, ...]
    file_names: tuple[str, ...]
    sizes: np.ndarray
    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    max_detections: int
    detections: Detections
    objects: Objects
    pairs: Pairs

    def rows(self, image: int) -> tuple[slice, slice]:
        """Returns the rows of an image's detections and objects.

        Args:
            image: int. Index into `image_ids`.
        """
        ends = [image, image + 1]
        found = np.searchsorted(self.detections.image, ends)
        true = np.searchsorted(self.objects.image, ends)
        return slice(*found.tolist()), slice(*true.tolist())

    def ious(self, image: int) -> np.ndarray:
        """Returns the IoUs of an image's detections with its objects, of all classes.

        Args:
            image: int. Index into `image_ids`.

        Returns:
            (detections, objects) float64, in the order of `rows`.
        """
        found, true = self.rows(image)
        ious = np.zeros([found.stop - found.start, true.stop - true.start])
        pairs = slice(*np.searchsorted(self.pairs.detection, [found.start, found.stop]).tolist())
        rows, columns = self.pairs.detection[pairs], self.pairs.object[pairs]
        ious[rows - found.start, columns - true.start] = self.pairs.iou[pairs]
        return ious

    def assign(self, iou: float = 0.5) -> Assignment:
        """Matches detections with objects of their class as COCO does (`COCOeval.evaluateImg`).

        In the order of the scores, each detection takes the object with the highest IoU that no
        better detection has. Only without one it may match an ignored object, as many others can.

        Args:
            iou: float in (0, 1]. The lowest IoU of a match.
        """
        if not 0 < iou <= 1:
            raise ValueError(f"iou must be in (0, 1]. Received: iou={iou!r}.")
        pairs, found, true = self.pairs, self.detections, self.objects
        same = found.category[pairs.detection] == true.category[pairs.object]
        near = np.flatnonzero(same & (pairs.iou >= min(iou, 1 - 1e-10)))
        # Of equal IoUs pycocotools takes the object that comes last.
        keys = -pairs.object[near], -pairs.iou[near], true.ignore[pairs.object[near]]
        near = near[np.lexsort((*keys, pairs.detection[near]))]
        matched, taken = take_in_turn(
            pairs.detection[near], pairs.object[near], len(found.score), len(true.area), true.ignore
        )
        ignored = (matched >= 0) & np.append(true.ignore, False)[matched]
        return Assignment(matched, ignored, taken)


def take_in_turn(
    rows: np.ndarray,
    columns: np.ndarray,
    num_rows: int,
    num_columns: int,
    shared: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lets detections choose objects in turn. Each takes the first of its list that is free.

    Args:
        rows, columns: (P,) int. Wishes: a detection and an object, by detection, the best first.
        num_rows, num_columns: int. Numbers of detections and objects.
        shared: (num_columns,) bool. Objects that are never taken; None if there are none.

    Returns:
        The object of each detection, (num_rows,) int64, and the detection that took each object,
            (num_columns,) int64; -1 for none.
    """
    never = [False] * num_columns if shared is None else shared.tolist()
    objects, taken = [-1] * num_rows, [-1] * num_columns
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if objects[row] < 0 and taken[column] < 0:
            objects[row] = column
            if not never[column]:
                taken[column] = row
    return np.array(objects, np.int64), np.array(taken, np.int64)


def match(
    results: Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    iou_type: str = "segm",
    max_detections: int = 100,
    category_ids: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    image_ids: Sequence[Any] | None = None,
) -> Matched:
    """Computes the overlaps of COCO results with an annotation file.

    Args:
        results: list of COCO results with "bbox" or, for "segm", "segmentation"; may be empty.
        annotations: path of a COCO annotation file, or its content, which is not changed.
        iou_type: "segm" for masks, "bbox" for boxes.
        max_detections: int, positive. Detections that count per image and class, the best ones.
        category_ids: sequence of int. Categories that count; None for all of the file.
        class_names: sequence of str. Names of these categories; None for the file's.
        image_ids: sequence of image ids that count; None for all of the file.

    Returns:
        `Matched`. Results of other images and categories of the file are left out.

    Raises:
        ValueError: if an option is out of its range.
        DataError: if an annotation or a result lacks a field, or is of an image or category that
            the file does not have; or if the size of a mask is not that of its image.
    """
    if iou_type not in ("segm", "bbox"):
        raise ValueError(f"iou_type must be 'segm' or 'bbox'. Received: iou_type={iou_type!r}.")
    if max_detections < 1:
        raise ValueError(
            f"max_detections must be positive. Received: max_detections={max_detections!r}."
        )
    frame, true, true_shapes = read_objects(
        annotations,
        iou_type,
        category_ids=category_ids,
        class_names=class_names,
        image_ids=image_ids,
    )
    found, found_shapes = read_results(results, frame, max_detections)
    pairs = _pairs(found["image"], found_shapes, true["image"], true_shapes, true["ignore"])
    real = ~true["ignore"][pairs.object]
    same = found["category"][pairs.detection] == true["category"][pairs.object]
    of_detections = pairs.detection, pairs.object, pairs.iou, len(found["image"])
    iou, own = best_partner(*of_detections, same & real)
    any_iou, any_object = best_partner(*of_detections, real)
    crowd_iou, _ = best_partner(*of_detections, same & ~real)
    bests = {"iou": iou, "object": own, "any_iou": any_iou, "any_object": any_object}
    detections = Detections(**found, **bests, crowd_iou=crowd_iou)
    of_objects = pairs.object, pairs.detection, pairs.iou, len(true["image"])
    iou, detection = best_partner(*of_objects, same & real)
    return Matched(
        iou_type=iou_type,
        image_ids=frame.image_ids,
        file_names=frame.file_names,
        sizes=frame.sizes,
        category_ids=frame.category_ids,
        class_names=frame.class_names,
        max_detections=max_detections,
        detections=detections,
        objects=Objects(**true, iou=iou, detection=detection),
        pairs=pairs,
    )


def _pairs(found_image, found_shapes, true_image, true_shapes, ignore):
    """Computes the IoUs, image by image, and keeps those above 0."""
    rows, columns, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    images, begins, counts = np.unique(true_image, return_index=True, return_counts=True)
    firsts, lasts = np.searchsorted(found_image, [images, images + 1])
    for begin, count, first, last in zip(
        *(x.tolist() for x in (begins, counts, firsts, lasts)), strict=True
    ):
        if first < last:
            here = slice(begin, begin + count)
            crowds = ignore[here].tolist()
            ious = coco_mask.iou(found_shapes[first:last], true_shapes[here], crowds)
            row, column = np.nonzero(ious > 0)
            rows.append(row + first)
            columns.append(column + begin)
            values.append(ious[row, column])
    return Pairs(np.concatenate(rows), np.concatenate(columns), np.concatenate(values))


def best_partner(
    rows: np.ndarray, others: np.ndarray, ious: np.ndarray, count: int, among: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each row the other row with which it has the highest IoU.

    Args:
        rows, others: (P,) int. The rows of the pairs, of detections and objects or the reverse.
        ious: (P,) float.
        count: int. Number of rows.
        among: (P,) bool. The pairs that are looked at.

    Returns:
        The IoUs, (count,) float64, 0 without a pair, and the other rows, (count,) int64, or -1. Of
            equal IoUs the first other row counts.
    """
    pairs = np.flatnonzero(among)
    pairs = pairs[np.lexsort((-others[pairs], ious[pairs], rows[pairs]))]
    best, other = np.zeros(count), np.full(count, -1, np.int64)
    best[rows[pairs]], other[rows[pairs]] = ious[pairs], others[pairs]  # the last of a row stays
    return best, other
