"""Reads the images that INT8 exports take the ranges of their activations from."""

import os
import reprlib
from collections.abc import Iterable, Iterator

import numpy as np

from keras_maskrcnn.data.bands import Reading
from keras_maskrcnn.data.formats.content import list_images
from keras_maskrcnn.data.pixels import read_header, read_with_remarks
from keras_maskrcnn.typing import Path


class CalibrationImages:
    """Images for calibration. Files are read one at a time, whenever they are needed.

    Args:
        calibration: path of a folder of images, with its subfolders, or an iterable of
            (H, W, C) arrays of the model's dtype: by default (H, W, 3) uint8 RGB.
        count: int. The most images to use: evenly spaced among the sorted files of a folder, or the
            first ones of an iterable.
        reading: `data.bands.Reading` of the model; None for 8-bit RGB.

    Attributes:
        paths: list of str. The files that are read; empty for arrays.

    Raises:
        ValueError: if there is no image, an array is not as above, or `count` is not positive.
        DataError: if there is no such folder, or a file is no image.
    """

    def __init__(
        self,
        calibration: Path | Iterable[np.ndarray],
        count: int,
        reading: Reading | None = None,
    ) -> None:
        if count < 1:
            raise ValueError(
                f"calibration_images must be positive. Received: calibration_images={count!r}."
            )
        self._reading = reading or Reading()
        self.paths: list[str] = []
        self._arrays: list[np.ndarray] = []
        if isinstance(calibration, str | os.PathLike):
            names = list_images(calibration)
            step = max(1.0, len(names) / count)
            chosen = [names[int(i * step)] for i in range(min(count, len(names)))]
            self.paths = [os.path.join(calibration, name) for name in chosen]
            for path in self.paths:
                read_header(path, None, self._reading)
        else:
            for array, _ in zip(calibration, range(count), strict=False):
                self._arrays.append(_checked(array, len(self._arrays), self._reading))
        if not len(self):
            raise ValueError(
                "calibration must hold at least one image. Received: "
                f"calibration={reprlib.repr(calibration)}."
            )

    def __len__(self) -> int:
        return len(self.paths) or len(self._arrays)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, C) arrays of the model's dtype."""
        yield from self._arrays
        for path in self.paths:
            yield read_with_remarks(path, None, self._reading)[0]


def _checked(array, index, reading):
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    wrong = shape is None or len(shape) != 3 or shape[2] != reading.channels or 0 in shape
    if wrong or dtype != reading.image_dtype:
        raise ValueError(
            f"calibration must be a folder, or (H, W, {reading.channels}) {reading.image_dtype} "
            "arrays of at least one pixel. "
            f"Received: calibration[{index}] with shape={shape}, dtype={dtype}."
        )
    return array


def check_calibration(
    kind: str,
    precisions: tuple[str, ...],
    precision: str,
    calibration: Path | Iterable[np.ndarray] | None,
    count: int,
    reading: Reading | None = None,
) -> CalibrationImages | None:
    """Checks the precision of an export, and opens the images that INT8 needs.

    Args:
        kind: str. The name of the format.
        precisions: tuple of str. The precisions that it has.
        precision: str. The one that is wanted.
        calibration: as in `CalibrationImages`, or None.
        count: int. As in `CalibrationImages`.
        reading: `data.bands.Reading`, or None. As in `CalibrationImages`.

    Returns:
        CalibrationImages for "int8", else None.

    Raises:
        ValueError: if there is no such precision, if "int8" comes without images or another
            precision with them; and as in `CalibrationImages`.
    """
    if precision not in precisions:
        raise ValueError(
            f"precision of {kind} must be {' or '.join(precisions)}. "
            f"Received: precision={precision!r}."
        )
    if (precision == "int8") != (calibration is not None):
        needs = "int8 needs calibration images" if calibration is None else "only int8 takes images"
        raise ValueError(f"{needs}. Received: calibration={reprlib.repr(calibration)}.")
    return None if calibration is None else CalibrationImages(calibration, count, reading)
