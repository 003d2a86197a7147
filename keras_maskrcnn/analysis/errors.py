"""Names the error of each detection, and what each kind costs: TIDE (Bolya et al. 2020).

The rules are those of the authors' package `tidecv` 1.0.1, ties included; the code is our own. The
cost of a kind is how much AP rises if an oracle mends all errors of that kind and no others.
"""

import dataclasses

import numpy as np

from keras_maskrcnn.analysis.matching import Matched, best_partner, take_in_turn

KINDS = ("correct", "classification", "localisation", "both", "duplicate", "background")
"""What a detection can be; `Errors.kind` holds indices into it."""
CORRECT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND = range(len(KINDS))
MISSED = "missed"
"""The kind of error of an object that no detection is near enough to."""

COCO_RECALLS = np.linspace(0, 1, 101)
"""The recalls at which pycocotools reads precision."""
_RECALLS = np.arange(101) / 100  # TIDE's: 10 of them differ in the last bit, which can cost a step


@dataclasses.dataclass(frozen=True)
class Errors:
    """The kinds of all detections and objects, and the cost of each kind.

    Attributes:
        ap: float in 0..1. AP at the IoU; None if there is neither an object nor a detection. A
            class with detections and no object counts as 0, unlike in COCO's AP.
        kind: (N,) int8. Index into `KINDS`; -1 for detections beyond the limit per image.
        ignored: (N,) bool. In an ignored object, and so neither right nor wrong. TIDE gives them a
            kind all the same.
        object: (N,) int64. Row of the object that a detection found, or that it would have found
            without its error; -1 without one.
        missed: (M,) bool. No detection found the object, and mending one would not help.
        counts: dict of kind to number, `MISSED` included, "correct" left out.
        dap: dict of the same kinds, and of "false positives" and "false negatives", to the rise of
            AP, in 0..1. None for each if `ap` is None.
    """

    ap: float | None
    kind: np.ndarray
    ignored: np.ndarray
    object: np.ndarray
    missed: np.ndarray
    counts: dict[str, int]
    dap: dict[str, float | None]


def find_errors(matched: Matched, iou: float = 0.5, background_iou: float = 0.1) -> Errors:
    """Finds the kind of each error, and its cost.

    With the highest IoU of a wrong detection with the objects of its class, of other classes, and
    of any, the first of these that holds is its kind:

    - localisation: own class, from `background_iou` to `iou`.
    - classification: another class, `iou` or more.
    - duplicate: own class, `iou` or more, with an object that another detection found.
    - background: any class, at most `background_iou`.
    - both: the rest.

    Args:
        matched: `Matched`. Its `max_detections` best detections per image count.
        iou: float in (0, 1]. From here on a detection of the right class is correct.
        background_iou: float in [0, iou). Up to here there is only background.

    Raises:
        ValueError: if an IoU is out of its range.
    """
    if not 0 <= background_iou < iou <= 1:
        raise ValueError(
            "background_iou and iou must be 0 <= background_iou < iou <= 1. "
            f"Received: background_iou={background_iou!r}, iou={iou!r}."
        )
    found, true = matched.detections, matched.objects
    counted = found.rank < matched.max_detections
    own, used = _matches(matched, counted, iou)
    correct = own >= 0
    ignored = counted & ~correct & (found.crowd_iou > iou)
    kind, target = _kinds(matched, correct, used, iou, background_iou)
    target = np.where(correct, own, target)
    kind[~counted], target[~counted] = -1, -1
    # The best of the errors around an object that nobody found is mended to find it.
    mendable = np.isin(kind, (CLASSIFICATION, LOCALISATION)) & ~np.append(used, True)[target]
    mended = np.zeros(len(kind), bool)
    rows = np.flatnonzero(mendable)
    _, first = np.unique(target[rows], return_index=True)  # rows of an image fall by score
    mended[rows[first]] = True
    usable = np.zeros(len(used), bool)
    usable[target[rows]] = True
    real = ~true.ignore
    missed = real & ~used & ~usable
    points = _Points(matched, kind, ignored, target, mended)
    ap = points.ap(points.positives)
    counts = {KINDS[k]: int((kind == k).sum()) for k in range(1, len(KINDS))}
    counts[MISSED] = int(missed.sum())
    dap: dict[str, float | None] = dict.fromkeys((*counts, "false positives", "false negatives"))
    if ap is not None:
        for k in range(1, len(KINDS)):
            dap[KINDS[k]] = max((points.ap(points.positives, mend=k) or 0) - ap, 0)
        lost = np.bincount(true.category[missed], minlength=len(points.positives))
        dap[MISSED] = max((points.ap(points.positives - lost) or 0) - ap, 0)
        dap["false positives"] = (points.ap(points.positives, oracle=True) or 0) - ap
        lost = np.bincount(true.category[real & ~used], minlength=len(points.positives))
        dap["false negatives"] = (points.ap(points.positives - lost) or 0) - ap
    return Errors(ap, kind, ignored, target, missed, counts, dap)


def _matches(matched, counted, iou):
    """Matches as TIDE does: of equal IoUs the first object. Returns (N,) rows and (M,) bool."""
    pairs, found, true = matched.pairs, matched.detections, matched.objects
    same = found.category[pairs.detection] == true.category[pairs.object]
    near = same & ~true.ignore[pairs.object] & counted[pairs.detection] & (pairs.iou >= iou)
    near = np.flatnonzero(near)
    near = near[np.lexsort((pairs.object[near], -pairs.iou[near], pairs.detection[near]))]
    own, taken = take_in_turn(
        pairs.detection[near], pairs.object[near], len(found.score), len(true.area)
    )
    return own, taken >= 0


def _kinds(matched, correct, used, iou, background_iou):
    """Returns the kind (N,) int8 of each detection, and the object that it is about, or -1."""
    pairs, found, true = matched.pairs, matched.detections, matched.objects
    count = len(found.score)
    real = ~true.ignore[pairs.object]
    same = found.category[pairs.detection] == true.category[pairs.object]
    columns = pairs.detection, pairs.object, pairs.iou, count
    other_iou, other = best_partner(*columns, real & ~same)
    used_iou, taken = best_partner(*columns, real & same & used[pairs.object])
    kind = np.full(count, BOTH, np.int8)
    target = np.full(count, -1, np.int64)
    rules = (  # the first that holds decides, so they are written last to first
        (BACKGROUND, found.any_iou <= background_iou, target),
        (DUPLICATE, used_iou >= iou, taken),
        (CLASSIFICATION, other_iou >= iou, other),
        (LOCALISATION, (found.iou >= background_iou) & (found.iou <= iou), found.object),
        (CORRECT, correct, target),
    )
    for name, holds, about in rules:
        kind[holds], target = name, np.where(holds, about, target)
    # Without any object in the image, TIDE looks no further.
    objects = np.bincount(true.image[~true.ignore], minlength=len(matched.image_ids))
    alone = objects[found.image] == 0
    kind[alone], target[alone] = BACKGROUND, -1
    return kind, target


class _Points:
    """The points of the precision-recall curves, and AP after some of them were mended."""

    def __init__(self, matched, kind, ignored, target, mended):
        found, true = matched.detections, matched.objects
        self.positives = np.bincount(
            true.category[~true.ignore], minlength=len(matched.category_ids)
        )
        # In `tidecv` mended curves hold the errors first. That decides among equal scores.
        counted = np.flatnonzero(kind >= 0)
        self._in_order = counted
        self._errors_first = counted[np.argsort(kind[counted] == CORRECT, kind="stable")]
        self._kind, self._ignored, self._mended = kind, ignored, mended
        self._category, self._score = found.category, found.score
        self._mended_category = np.where(
            kind == CLASSIFICATION, np.append(true.category, 0)[target], found.category
        )

    def ap(self, positives, mend=None, oracle=False):
        """Returns the mean AP of the classes that have points or objects; None without any."""
        original = mend is None and not oracle and positives is self.positives
        rows = self._in_order if original else self._errors_first
        chosen = self._kind[rows] == mend if mend is not None else np.zeros(len(rows), bool)
        kept = np.where(chosen, self._mended[rows], ~self._ignored[rows])
        rows, chosen = rows[kept], chosen[kept]
        right = chosen | (self._kind[rows] == CORRECT)
        category = np.where(chosen, self._mended_category[rows], self._category[rows])
        score = right.astype(float) if oracle else self._score[rows]
        order = np.lexsort((-score, category))  # stable
        ends = np.searchsorted(category[order], np.arange(len(positives) + 1))
        values = [
            average_precision(right[order[begin:end]], count)
            for begin, end, count in zip(ends[:-1], ends[1:], positives.tolist(), strict=True)
            if begin < end or count > 0
        ]
        return float(np.mean(values)) if values else None


def average_precision(right: np.ndarray, positives: int) -> float:
    """Computes AP as TIDE does: the mean precision at 101 recalls, made to never rise.

    Args:
        right: (n,) bool. Whether each detection is correct, by falling score.
        positives: int. Number of objects. AP is 0 without any.
    """
    return float(precision_at_recalls(right, positives, _RECALLS).mean())


def precision_at_recalls(
    right: np.ndarray, positives: int, recalls: np.ndarray = COCO_RECALLS
) -> np.ndarray:
    """Returns the highest precision from each recall on.

    Args:
        right, positives: as in `average_precision`.
        recalls: (R,) float64, ascending.

    Returns:
        (R,) float64. 0 where the recall is not reached.
    """
    if positives <= 0 or not len(right):
        return np.zeros(len(recalls))
    true = np.cumsum(right)
    precision = true / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / positives, recalls, side="left")
    return np.append(precision, 0.0)[at]
