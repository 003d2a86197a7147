"""Annotations of the VGG Image Annotator, version 2."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from keras_maskrcnn.writers.base import OneFile
from keras_maskrcnn.writers.outlines import joined
from keras_maskrcnn.writers.record import ImageRecord


class Via(OneFile):
    """Writes `via.json`: annotations as VIA 2 exports and imports them.

    A region is one polygon. Lines there and back join parts and holes to it. The region's
    attributes are `class` and `score`.
    """

    place = "via.json"
    modules = ("shapely",)

    def head(self) -> str:
        """Returns the brace of the dict of images."""
        return "{"

    def tail(self) -> str:
        """Returns the brace of the dict of images."""
        return "}\n"

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields an image with its regions, a line per region."""
        # VIA knows an image by its name and its size in bytes; -1 stands for an address.
        path = record.path
        size = os.path.getsize(path) if path is not None and os.path.isfile(path) else -1
        key, name = json.dumps(f"{record.posix_name}{size}"), json.dumps(record.posix_name)
        yield ",\n" if self.images else "\n"
        yield f'{key}: {{"filename": {name}, "size": {size}, "file_attributes": {{}}, "regions": ['
        for i, region in enumerate(self._regions(found)):
            yield (",\n" if i else "\n") + json.dumps(region)
        yield "]}"

    def _regions(self, found):
        for one, parts in self.outlined(found):
            if one.region is None:
                x1, y1, x2, y2 = one.box
                shape = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
            else:
                x, y = joined(parts).T.tolist()
                shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
            attributes = {"class": one.class_name, "score": f"{one.score:.4f}"}
            yield {"shape_attributes": shape, "region_attributes": attributes}
