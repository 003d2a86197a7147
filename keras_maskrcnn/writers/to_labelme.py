"""labelme's json files, one per image."""

import base64
import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn.instance_masks import trimmed
from keras_maskrcnn.writers.base import FilePerImage, inside, separated
from keras_maskrcnn.writers.record import ImageRecord

VERSION = "5.5.0"  # of labelme, whose format this is


class Labelme(FilePerImage):
    """Writes a json per image into `labelme`.

    The parts of an object are polygons with one `group_id`. An object with holes is a mask. The
    score is in `score`, which labelme keeps, and in the description, which it shows.
    """

    place = "labelme"
    suffix = ".json"
    modules = ("shapely",)

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields the file, a line per shape."""
        yield f'{{"version": "{VERSION}", "flags": {{}},\n"shapes": [\n'
        yield from separated(map(json.dumps, self._shapes(found)), True)
        yield "\n],\n"
        rest = {
            "imagePath": self.image_path(record),
            "imageData": None,
            "imageHeight": int(record.height),
            "imageWidth": int(record.width),
        }
        yield json.dumps(rest)[1:] + "\n"

    def image_path(self, record: ImageRecord) -> str:
        """Returns the image's path, relative to its json if the file is known."""
        if record.path is None:
            return record.posix_name
        folder = os.path.dirname(os.path.join(self.path, inside(record.file_name)))
        return os.path.relpath(record.path, folder).replace(os.sep, "/")

    def _shapes(self, found):
        for one, parts in self.outlined(found):
            shape = {
                "label": one.class_name,
                "score": round(one.score, 6),
                "description": f"score {one.score:.3f}",
                "group_id": one.number if len(parts) > 1 else None,
                "flags": {},
            }
            if one.region is None:
                x1, y1, x2, y2 = one.box
                yield {**shape, "shape_type": "rectangle", "points": [[x1, y1], [x2, y2]]}
            elif all(len(part) == 1 for part in parts):
                for (ring,) in parts:
                    yield {**shape, "shape_type": "polygon", "points": ring.tolist()}
            else:
                region, (y, x) = trimmed(one.region, one.origin)
                height, width = region.shape
                # Both corners belong to the mask.
                points = [[x, y], [x + width - 1, y + height - 1]]
                shape |= {"group_id": None, "shape_type": "mask", "points": points}
                yield {**shape, "mask": _png(region)}


def _png(region):
    file = io.BytesIO()
    Image.fromarray(region.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
