"""COCO results: a list of detections with run lengths, exact and compact."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keras_maskrcnn.writers.base import OneFile, separated
from keras_maskrcnn.writers.record import ImageRecord

MAX_PIXELS = 2**32 - 1  # pycocotools counts in 32 bits


class Rle(OneFile):
    """Writes `predictions.json`: COCO results, with `file_name` in place of `image_id`."""

    place = "predictions.json"

    def head(self) -> str:
        """Returns the bracket of the list."""
        return "["

    def tail(self) -> str:
        """Returns the bracket of the list."""
        return "]\n"

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields a result per object."""
        if "masks" in found and record.height * record.width > MAX_PIXELS:
            raise ValueError(
                f"{record.file_name}: COCO's run lengths end at {MAX_PIXELS} pixels; "
                "geojson holds larger images. "
                f"Received: height={record.height}, width={record.width}."
            )
        yield from separated(self._results(record, found), self.objects == 0)

    def _results(self, record, found):
        for one in self.detected(found):
            x1, y1, x2, y2 = one.box
            result = {
                "file_name": record.posix_name,
                "category_id": one.category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "score": one.score,
            }
            if one.region is not None:
                result["segmentation"] = found["masks"].rle(one.number - 1)
            yield json.dumps(result)
