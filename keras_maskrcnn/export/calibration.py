"""Reads the images that INT8 exports take the ranges of their activations from."""

import os
import reprlib
from collections.abc import Iterable, Iterator

import numpy as np

from keras_maskrcnn.data.formats.content import list_files
from keras_maskrcnn.data.images import SUFFIXES, read_header, read_image
from keras_maskrcnn.typing import Path


class CalibrationImages:
    """Images for calibration. Files are read one at a time, whenever they are needed.

    Args:
        calibration: path of a folder of images, with its subfolders, or an iterable of
            (H, W, 3) uint8 RGB arrays.
        count: int. The most images to use: evenly spaced among the sorted files of a folder, or the
            first ones of an iterable.

    Attributes:
        paths: list of str. The files that are read; empty for arrays.

    Raises:
        ValueError: if there is no image, an array is not as above, or `count` is not positive.
        DataError: if there is no such folder, or a file is no image.
    """

    def __init__(self, calibration: Path | Iterable[np.ndarray], count: int) -> None:
        if count < 1:
            raise ValueError(
                f"calibration_images must be positive. Received: calibration_images={count!r}."
            )
        self.paths: list[str] = []
        self._arrays: list[np.ndarray] = []
        if isinstance(calibration, str | os.PathLike):
            names = list_files(calibration, SUFFIXES)
            step = max(1.0, len(names) / count)
            chosen = [names[int(i * step)] for i in range(min(count, len(names)))]
            self.paths = [os.path.join(calibration, name) for name in chosen]
            for path in self.paths:
                read_header(path)
        else:
            for array, _ in zip(calibration, range(count), strict=False):
                self._arrays.append(_checked(array, len(self._arrays)))
        if not len(self):
            raise ValueError(
                "calibration must hold at least one image. Received: "
                f"calibration={reprlib.repr(calibration)}."
            )

    def __len__(self) -> int:
        return len(self.paths) or len(self._arrays)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields (H, W, 3) uint8 arrays."""
        yield from self._arrays
        for path in self.paths:
            yield read_image(path)


def _checked(array, index):
    shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
    if shape is None or len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or 0 in shape:
        raise ValueError(
            "calibration must be a folder, or (H, W, 3) uint8 arrays of at least one pixel. "
            f"Received: calibration[{index}] with shape={shape}, dtype={dtype}."
        )
    return array


def check_calibration(
    kind: str,
    precisions: tuple[str, ...],
    precision: str,
    calibration: Path | Iterable[np.ndarray] | None,
    count: int,
) -> CalibrationImages | None:
    """Checks the precision of an export, and opens the images that INT8 needs.

    Args:
        kind: str. The name of the format.
        precisions: tuple of str. The precisions that it has.
        precision: str. The one that is wanted.
        calibration: as in `CalibrationImages`, or None.
        count: int. As in `CalibrationImages`.

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
    return None if calibration is None else CalibrationImages(calibration, count)
