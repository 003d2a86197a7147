"""YOLO's labels for segmentation: a text file per image, a row per object."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import yaml

from keras_maskrcnn.writers.base import FilePerImage
from keras_maskrcnn.writers.outlines import joined
from keras_maskrcnn.writers.record import ImageRecord


class YoloSeg(FilePerImage):
    """Writes `yolo_seg/labels` and `yolo_seg/data.yaml`, as Ultralytics reads them.

    A row is `class x1 y1 x2 y2 ...`, in shares of the image's sides. Classes count from 0. Lines
    there and back join the parts and holes of an object. The format has no place for scores.
    """

    place = "yolo_seg"
    subfolder = "labels"
    only_by_stem = True
    suffix = ".txt"
    companion = "yolo_seg/data.yaml"
    modules = ("shapely",)

    def companion_text(self) -> str:
        """Returns the names of the classes for data.yaml."""
        names = list(self.categories().values())
        content = {"names": dict(enumerate(names)), "nc": len(names)}
        return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields a row per object."""
        sides = np.array([record.width, record.height])
        for one, parts in self.outlined(found):
            if one.region is None:
                corners = np.reshape(one.box, (2, 2)) / sides
                shares = np.concatenate([corners.mean(0), corners[1] - corners[0]])
            else:
                shares = (joined(parts) / sides).ravel()
            # Nine digits are those of float32, in which Ultralytics computes.
            yield " ".join([str(one.label - 1), *(f"{v:.9g}" for v in shares.tolist())]) + "\n"
