"""The paired bootstrap: is the AP of B really above that of A, or were its images lucky?

Images are drawn with replacement, as many as there are, and both models are judged on the same
draw. The spread of the difference over many draws is its uncertainty (Efron and Tibshirani, "An
Introduction to the Bootstrap", 1993, chapters 8 and 13).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.analysis.resampling import Flags
from keras_maskrcnn.progress import Progress

RESAMPLES = 1000
"""Draws by default. The ends of a 95 % interval are then known to 4 % of its half width, and a p
near 0.05 to 0.007: less than it matters for a decision. Efron and Tibshirani (chapter 14) ask for
as many."""

SIZES = ("", "s", "m", "l")  # as COCOeval.params.areaRngLbl


def draws(count: int, resamples: int, seed: int) -> np.ndarray:
    """Draws images with replacement.

    Args:
        count: int. Number of images.
        resamples: int. Number of draws.
        seed: int.

    Returns:
        (resamples, count) int32. How often each draw has each image.
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((resamples, count), np.int32)
    for row in weights:
        row[:] = np.bincount(rng.integers(count, size=count), minlength=count)
    return weights


def average_precisions(values: np.ndarray, thresholds: np.ndarray) -> dict[str, Any]:
    """Averages the AP of classes, sizes and IoU thresholds as COCO does.

    Args:
        values: (K, A, T) float. From `Flags.average_precision`.
        thresholds: (T,) float. The IoU thresholds.

    Returns:
        dict of "AP", "AP50", "AP75", "APs", "APm", "APl" to float, and of "classes" to (K,) float:
            the AP of each class. NaN where there was nothing to find.
    """
    found: dict[str, Any] = {f"AP{size}": _mean(values[:, i]) for i, size in enumerate(SIZES)}
    for name, threshold in (("AP50", 0.5), ("AP75", 0.75)):
        at = np.flatnonzero(np.isclose(thresholds, threshold))
        found[name] = _mean(values[:, 0][:, at])
    return {**found, "classes": values[:, 0].mean(axis=1)}


def _mean(values):
    """Averages what is not NaN; NaN if there is nothing."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else np.nan


def paired_bootstrap(
    pairs: Mapping[str, tuple[Flags, Flags]],
    labels: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
    verbose: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compares two models on the same draws of images.

    The interval is that of percentiles. The p is two-sided: twice the share of the draws in which
    the worse model was not worse, with one draw more for a finite number of them.

    Args:
        pairs: dict of IoU type to the `Flags` of A and B, of the same images and classes.
        labels: sequence of str. The name of each class.
        resamples: int. Number of draws.
        confidence: float in (0, 1). Probability with which the interval has the true difference.
        seed: int. Of the draws. The same seed gives the same numbers.
        verbose: int. 0 is silent, 1 shows a progress bar.

    Returns:
        dict of name, such as "segm/AP" or "bbox/AP/cat", to a dict:

            - a, b, difference: float. AP of the two, and b - a; None if there is nothing to find.
            - low, high: float. Ends of the interval of the difference.
            - p: float in (0, 1].
            - resamples: int. Draws that had an object to find.
    """
    count = len(next(iter(pairs.values()))[0].image_ids)
    weights = draws(count, resamples, seed)
    measure = _measure(pairs, labels)
    whole = measure(np.ones(count, np.int32))
    progress, drawn = Progress(resamples, "draw", verbose), []
    for i, row in enumerate(weights):
        drawn.append(measure(row))
        progress.update(i + 1)
    spread = np.array(drawn).reshape(resamples, -1, 2)
    names = [f"{t}/{name}" for t in pairs for name in _names(labels)]
    return {name: _judged(whole[i], spread[:, i], confidence) for i, name in enumerate(names)}


def _names(labels):
    """Returns the names of one IoU type's numbers, in the order of `_measure`."""
    return ["AP", "AP50", "AP75", "APs", "APm", "APl", *(f"AP/{label}" for label in labels)]


def _measure(
    pairs: Mapping[str, tuple[Flags, Flags]], labels: Sequence[str]
) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function of the images' weights to (numbers, 2) AP of A and B."""

    def of_one(flags, weights):
        found = average_precisions(flags.average_precision(weights), flags.iou_thresholds)
        names = _names(labels)[: -len(labels)] if labels else _names(labels)
        return np.concatenate([[found[name] for name in names], found["classes"]])

    def measure(weights):
        rows = [np.stack([of_one(f, weights) for f in pair], axis=1) for pair in pairs.values()]
        return np.concatenate(rows)

    return measure


def _judged(whole, spread, confidence):
    """Makes the entry of one number of (2,) values and of (resamples, 2) drawn ones."""
    a, b = (None if np.isnan(value) else float(value) for value in whole)
    change = spread[:, 1] - spread[:, 0]
    change = change[~np.isnan(change)]
    entry = {"a": a, "b": b, "difference": None, "low": None, "high": None, "p": None}
    if a is not None and b is not None and len(change):
        half = (1 - confidence) / 2
        low, high = np.quantile(change, [half, 1 - half])
        rarer = min(np.count_nonzero(change <= 0), np.count_nonzero(change >= 0))
        entry["difference"] = b - a
        entry["low"], entry["high"] = float(low), float(high)
        entry["p"] = min(1.0, 2 * (int(rarer) + 1) / (len(change) + 1))
    return {**entry, "resamples": len(change)}
