"""A COCO data set: images, categories, and annotations with scores."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.writers.base import OneFile, separated
from keras_maskrcnn.writers.outlines import joined
from keras_maskrcnn.writers.record import ImageRecord
from keras_maskrcnn.writers.to_rle import MAX_PIXELS


class CocoJson(OneFile):
    """Writes `coco.json`, which `data.coco_json` and most tools read.

    An object without holes is a list of polygons, because people can edit these. An object with
    holes is run lengths, because COCO's polygons have none.
    """

    place = "coco.json"
    modules = ("shapely",)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._images: list[dict[str, Any]] = []

    def head(self) -> str:
        """Returns the beginning, up to the list of annotations."""
        return '{"annotations": [\n'

    def tail(self) -> str:
        """Returns images and categories. In a json their place does not matter."""
        classes = [{"id": i, "name": name} for i, name in self.categories().items()]
        images, classes = json.dumps(self._images), json.dumps(classes)
        return f'\n],\n"images": {images},\n"categories": {classes}}}\n'

    def write_image(self, record: ImageRecord, found: dict[str, Any]) -> None:
        """Appends the annotations of an image."""
        super().write_image(record, found)
        size = {"height": int(record.height), "width": int(record.width)}
        self._images.append({"id": self.images + 1, "file_name": record.posix_name, **size})

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields an annotation per object."""
        yield from separated(self._annotations(record, found), self.objects == 0)

    def _annotations(self, record, found):
        for one, parts in self.outlined(found):
            x1, y1, x2, y2 = one.box
            annotation = {
                "id": self.objects,
                "image_id": self.images + 1,
                "category_id": one.category_id,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
                "score": one.score,
            }
            if one.region is not None:
                annotation["area"] = int(np.count_nonzero(one.region))
                annotation["segmentation"] = self._segmentation(record, found, one, parts)
            yield json.dumps(annotation)

    def _segmentation(self, record, found, one, parts):
        if all(len(part) == 1 for part in parts):
            return [part[0].ravel().tolist() for part in parts]
        if record.height * record.width > MAX_PIXELS:
            return [joined([part]).ravel().tolist() for part in parts]
        return found["masks"].rle(one.number - 1)
