"""Computes COCO's average precision again and again, for images that count several times or never.

COCO matches detections with objects image by image. So the matches of an image stay as they
are when other images come or go, and only the counting along the scores must be repeated. An image
that counts twice gives the AP of a data set that has this image twice.

The precision of AP's curve needs to be known at true positives only, and there are few of these
beside the false positives. So false positives are added up once for all IoU thresholds.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from pycocotools.cocoeval import Params

from keras_maskrcnn.analysis.matching import Matched


@dataclasses.dataclass(frozen=True)
class _Curves:
    """All (class, size, IoU) curves one behind the other; `Flags` says what the letters mean."""

    false_image: np.ndarray  # (F,) image index of each possible false positive
    event_image: np.ndarray  # (E,) image index of each matched detection
    event_true: np.ndarray  # (E,) int32: 1 for a true positive
    event_false: np.ndarray  # (E,) int32: 1 if it is among the possible false positives
    event_place: np.ndarray  # (E,) how many of all F come up to here
    false_start: np.ndarray  # (G,) where the curve's possible false positives begin
    start: np.ndarray  # (G + 1,) where the curve's events begin


@dataclasses.dataclass(frozen=True)
class Detections:
    """The detections of all classes that count in AP of all sizes, in no special order.

    Attributes:
        image: (D,) int. Index of the image.
        score: (D,) float.
        true: (T, D) bool. Matched with an object, for each IoU threshold.
        false: (T, D) bool. Matched with nothing. What matches a region to ignore is neither.
    """

    image: np.ndarray
    score: np.ndarray
    true: np.ndarray
    false: np.ndarray


class Flags:
    """Which detections are right, wrong or ignored: all that AP needs.

    Letters of shapes: N images, K classes, A sizes (all, small, medium, large), T IoU thresholds,
    D detections.

    Args:
        matched: Matched.

    Attributes:
        image_ids: (N,) tuple, in the order of all image indices.
        category_ids: (K,) tuple.
        class_names: (K,) tuple of str.
        file_names: (N,) tuple of str.
        objects: (N, K, A) int64. Annotated objects that count.
        detections: Detections.
        iou_thresholds: (T,) float64.
    """

    def __init__(self, matched: Matched) -> None:
        params = Params(iouType=matched.iou_type)
        self.image_ids, self.category_ids = matched.image_ids, matched.category_ids
        self.class_names, self.file_names = matched.class_names, matched.file_names
        self.iou_thresholds = np.asarray(params.iouThrs)
        self._recalls = np.asarray(params.recThrs)
        self.shape = (len(self.category_ids), len(params.areaRng), len(self.iou_thresholds))
        found, objects = matched.detections, matched.objects
        self.objects = np.zeros((len(self.image_ids), *self.shape[:2]), np.int64)
        # pycocotools sorts so, too: equal scores in the order of the images.
        order = np.lexsort((np.arange(len(found.score)), -found.score, found.category))
        ends = np.searchsorted(found.category[order], np.arange(self.shape[0] + 1))
        image, parts = found.image[order], {}
        for size, (low, high) in enumerate(params.areaRng):
            ignored = objects.ignore | (objects.area < low) | (objects.area > high)
            place = objects.image[~ignored], objects.category[~ignored], size
            np.add.at(self.objects, place, 1)
            outside = (found.area < low) | (found.area > high)
            true, false = _match(matched, self.iou_thresholds, ignored, outside)
            if size == 0:
                self.detections = Detections(found.image, found.score, true, false)
            true, false = true[:, order], false[:, order]
            for k in range(self.shape[0]):
                part = slice(*ends[k : k + 2].tolist())
                parts[k, size] = image[part], true[:, part], false[:, part]
        cells = self.objects.reshape(len(self.image_ids), -1)
        self._counts = (*np.nonzero(cells), cells[np.nonzero(cells)])
        self._curves = _join([parts[key] for key in sorted(parts)])

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Computes COCO's AP of every class, size and IoU threshold.

        Args:
            weights: (N,) int. How often each image counts; 1 everywhere is the data set itself.

        Returns:
            (K, A, T) float64. NaN where there is no object to find.
        """
        curves, weights = self._curves, np.asarray(weights, np.int32)
        lengths = np.diff(curves.start)
        false_sum = _sums(np.take(weights, curves.false_image))
        event_weight = np.take(weights, curves.event_image)
        true_weight = event_weight * curves.event_true
        true_sum, twice = _sums(true_weight), _sums(event_weight * curves.event_false)
        # What was counted before an event's curve began, and false positives that match here.
        before = false_sum[curves.false_start] - twice[curves.start[:-1]]
        true = true_sum[1:] - np.repeat(true_sum[curves.start[:-1]], lengths)
        false = np.take(false_sum, curves.event_place) - twice[1:] - np.repeat(before, lengths)
        precision = true / (true + false + np.spacing(1))

        image, cell, count = self._counts
        objects = np.bincount(cell, weights[image] * count, self.shape[0] * self.shape[1])
        needed = np.repeat(_needed(objects, self._recalls), self.shape[2], axis=0)
        first, last = true_sum[curves.start[:-1], None], true_sum[curves.start[1:], None]
        reached = (needed > 0) & (first + needed <= last)
        curve = np.zeros(needed.shape)
        if reached.any():
            # The event at which the n-th true positive of all is found.
            event_of = np.repeat(np.arange(len(true_weight)), true_weight)
            places = event_of[(first + needed - 1)[reached]]
            # A last interval reaches into the next curve, up to its first true positive, where the
            # precision is 0.
            curve[reached] = np.maximum.reduceat(precision, places)
        curve = np.maximum.accumulate(curve[:, ::-1], axis=1)
        values = np.where(needed[:, 0] > 0, curve.mean(axis=1), np.nan)
        return values.reshape(self.shape)


def _match(matched, thresholds, ignored, outside):
    """Matches detections with objects as `COCOeval.evaluateImg` does, for one size of objects.

    Args:
        matched: Matched.
        thresholds: (T,) float.
        ignored: (M,) bool. Objects that do not count. Only crowds may match many detections.
        outside: (D,) bool. Detections of another size, which are not wrong without a match.

    Returns:
        (T, D) bool true, (T, D) bool false.
    """
    pairs, found, objects = matched.pairs, matched.detections, matched.objects
    near = found.category[pairs.detection] == objects.category[pairs.object]
    near = np.flatnonzero(near & (pairs.iou >= thresholds.min()))
    # Objects that count first, then by IoU. Of equal ones pycocotools takes the last.
    keys = -pairs.object[near], -pairs.iou[near], ignored[pairs.object[near]]
    near = near[np.lexsort((*keys, pairs.detection[near]))]
    columns = [pairs.detection[near], pairs.object[near], pairs.iou[near]]
    crowd = objects.ignore[columns[1]]
    shape = len(thresholds), len(found.score)
    matches = np.full(shape, -1, np.int64)
    for i, threshold in enumerate(thresholds):
        kept = columns[2] >= threshold
        rows = (column[kept].tolist() for column in (columns[0], columns[1], crowd))
        own, taken = {}, set()
        for row, column, many in zip(*rows, strict=True):
            if row not in own and column not in taken:
                own[row] = column
                if not many:
                    taken.add(column)
        matches[i, list(own)] = list(own.values())
    unmatched = matches < 0
    return ~unmatched & ~np.append(ignored, False)[matches], unmatched & ~outside


def _sums(values):
    """Returns the sums of the first 0, 1, 2, ... values."""
    sums = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=sums[1:])
    return sums


def _needed(objects, recalls):
    """Returns how many true positives reach each recall, by pycocotools' float64 division.

    (n,) numbers of objects give (n, R), at least 1; 0 where there is no object.
    """
    count = objects[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        guess = np.ceil(recalls * count).astype(np.int64) - 1
        guess = guess + (guess / count < recalls)
        guess = guess + (guess / count < recalls)
    return np.where(count > 0, np.maximum(guess, 1), 0)


def _join(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> _Curves:
    """Puts the curves of all classes and sizes one behind the other.

    A detection is a possible false positive if it is one at any IoU threshold. Its events are its
    matches: true positives, and matches that take it out of the possible false positives.
    """
    false_image: list[np.ndarray] = []
    events_of: list[tuple[np.ndarray, ...]] = []
    starts: list[int] = []
    offset = 0
    for image, true, false in parts:
        possible = np.asarray(false.any(axis=0))
        up_to = offset + np.cumsum(possible)
        for true_row, false_row in zip(true, false, strict=True):
            events = np.flatnonzero(true_row | (possible & ~false_row))
            events_of.append((image[events], true_row[events], possible[events], up_to[events]))
            starts.append(offset)
        false_image.append(image[possible])
        offset += int(np.count_nonzero(possible))
    images, true_flags, false_flags, places = (
        np.concatenate([columns[i] for columns in events_of]) for i in range(4)
    )
    counts = [len(columns[0]) for columns in events_of]
    return _Curves(
        false_image=np.concatenate(false_image).astype(np.intp),
        event_image=images.astype(np.intp),
        event_true=true_flags.astype(np.int32),
        event_false=false_flags.astype(np.int32),
        event_place=places,
        false_start=np.array(starts),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
