"""Measures the bands of images, and compares their values with what is taken for white.

8-bit RGB is not measured: its range is used by nearly all photos.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.images import DARK
from keras_maskrcnn.doctor.findings import WARNING, Examination, Problem

UNUSED = "range of pixels not used"
ABOVE = "pixels above pixel_max"
CONSTANT = "constant band"
KINDS = (UNUSED, ABOVE, CONSTANT)
_USED = 0.25  # the brightest pixel of a data set should be above this share of pixel_max
_BITS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)


@dataclasses.dataclass(frozen=True)
class Bands:
    """The values of one image, or of all.

    Attributes:
        low, high: (C,) float64. Smallest and largest value of each band.
        sums, squares: (C,) float64. Sum of the values, and of their squares.
        count: int. Pixels per band.
    """

    low: np.ndarray
    high: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    count: int


def is_measured(reading: Reading) -> bool:
    """Whether images that are read in this way are measured."""
    return not (reading.is_rgb and reading.pixel_max == 255)


def measure(image: np.ndarray) -> Bands:
    """Measures an image, (H, W, C)."""
    lines = image.reshape(-1, image.shape[2])
    return Bands(
        lines.min(axis=0).astype(np.float64),
        lines.max(axis=0).astype(np.float64),
        lines.sum(axis=0, dtype=np.float64),
        np.einsum("ij,ij->j", lines, lines, dtype=np.float64, casting="safe"),  # without a copy
        len(lines),
    )


def summarize(reading: Reading, measured: Sequence[Bands]) -> dict[str, Any] | None:
    """Returns the table of bands for the report; None if nothing was measured.

    Args:
        reading: `data.bands.Reading` of the images.
        measured: the result of `measure` for each image.

    Returns:
        dict of the reading's attributes and `bands`, a list of dicts of `band`, counting from 1,
            `min` and `max` in the units of the files, and `mean` and `std` in 0..255, as
            `pixel_mean` and `pixel_std` of a config.
    """
    if not measured:
        return None
    low = np.min([one.low for one in measured], axis=0)
    high = np.max([one.high for one in measured], axis=0)
    count = sum(one.count for one in measured)
    mean = np.sum([one.sums for one in measured], axis=0) / count
    squares = np.sum([one.squares for one in measured], axis=0) / count
    std = np.sqrt(np.maximum(squares - mean**2, 0))
    scale = 255 / reading.pixel_max
    columns = low, high, mean * scale, std * scale
    rows = [
        dict(zip(("band", "min", "max", "mean", "std"), (i, *map(float, row)), strict=True))
        for i, row in enumerate(zip(*columns, strict=True), start=1)
    ]
    return {**reading.fields(), "bands": rows}


def warnings(
    found: Examination,
    summary: dict[str, Any] | None,
    measured: dict[int, Bands],
    of_images: Sequence[Problem] = (),
) -> list[Problem]:
    """Returns warnings of a range that is not used or too small, and of bands without content.

    Args:
        found: `Examination`.
        summary: the result of `summarize`.
        measured: dict of an image's index to its `Bands`.
        of_images: other problems of the images. 16 bits of which only the high byte was read have
            a remark of their own, so what was measured on that byte says nothing.
    """
    if summary is None or any(problem.kind == DARK for problem in of_images):
        return []
    problems, white = [], summary["pixel_max"]
    brightest = max(row["max"] for row in summary["bands"])
    received = f"Received: pixel_max={white:g}, image_dtype={summary['image_dtype']!r}."
    if 0 < brightest < _USED * white:
        line = f"the largest value of all images is {brightest:g}, so they come out nearly black;"
        line += f" {_fitting(brightest, summary['image_dtype'])}. {received}"
        problems.append(_of_set(found, UNUSED, line))
    above = [i for i, one in measured.items() if one.high.max() > white]
    if above:
        names = ", ".join(repr(found.file_names[i]) for i in above[:3])
        more = ", ..." if len(above) > 3 else ""
        line = f"{len(above)} images have values above pixel_max, up to {brightest:g} ({names}"
        line += f"{more}); {_fitting(brightest, summary['image_dtype'])}. {received}"
        problems.append(_of_set(found, ABOVE, line))
    for row in summary["bands"]:
        if row["min"] == row["max"]:
            line = f"band {row['band']} has one value in all images, {row['min']:g}."
            problems.append(_of_set(found, CONSTANT, line))
    return problems


def _fitting(brightest, dtype):
    """Says which pixel_max fits a largest value."""
    if dtype == "uint16" and brightest <= 255:
        return "image_dtype='float32' with pixel_max=255 fits"
    if brightest <= 1 or brightest > 65535:
        return f"pixel_max={'1' if brightest <= 1 else f'{brightest:g}'} fits"
    bits = next(bits for bits in _BITS if 2**bits - 1 >= brightest)
    return f"pixel_max={2 ** max(bits, 8 if dtype == 'float32' else bits) - 1} fits"


def _of_set(found, kind, line):
    return Problem(kind, WARNING, f"{found.annotations}: {line}")
