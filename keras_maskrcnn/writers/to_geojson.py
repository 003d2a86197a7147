"""GeoJSON: polygons with holes and several parts, for QGIS, geopandas and QuPath."""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_maskrcnn.writers.base import FilePerImage, separated
from keras_maskrcnn.writers.record import ImageRecord

# A reference system that is not the earth's.
_PIXELS = (
    'ENGCRS["pixels of the image",EDATUM["upper left corner"],CS[Cartesian,2],AXIS["x",east],'
    'AXIS["y",south],LENGTHUNIT["pixel",1]]'
)


class Geojson(FilePerImage):
    """Writes a file of features per image into `geojson`.

    Of a georeferenced image the coordinates are those of its reference system, which the member
    `crs` names. RFC 7946 of 2016 dropped this member and allows WGS 84 only. But QGIS, GDAL and
    geopandas read it, and outlines in another system than their image would not lie on it. Other
    coordinates are pixels, y pointing down, as QuPath expects. Their `crs` says so, because GDAL
    takes coordinates without it for degrees.
    """

    place = "geojson"
    suffix = ".geojson"
    modules = ("shapely",)

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields the collection, a line per object."""
        name = os.path.splitext(os.path.basename(record.posix_name))[0]
        crs = json.dumps(_crs_member(record.crs))
        yield f'{{"type": "FeatureCollection", "name": {json.dumps(name)}, "crs": {crs},\n'
        yield '"features": [\n'
        yield from separated(self._features(record, found), True)
        yield "\n]}\n"

    def _features(self, record, found):
        place = _placing(record)
        for one, parts in self.outlined(found):
            polygons = [[place(ring) for ring in part] for part in parts]
            several = len(polygons) > 1
            score = round(one.score, 6)
            feature = {
                "type": "Feature",
                "geometry": {
                    "type": "MultiPolygon" if several else "Polygon",
                    "coordinates": polygons if several else polygons[0],
                },
                "properties": {
                    **{"number": one.number, "class": one.class_name, "score": score},
                    "category_id": one.category_id,
                    # These three are QuPath's.
                    "objectType": "detection",
                    "classification": {"name": one.class_name},
                    "measurements": {"score": score},
                },
            }
            yield json.dumps(feature)


def _placing(record):
    """Returns a function from a ring in pixels to a closed list of coordinates."""
    if record.crs is None:
        return lambda ring: np.concatenate([ring, ring[:1]]).tolist()
    if record.transform is None:
        raise ValueError(
            f"{record.file_name}: an image with a reference system needs a transform. Received: "
            "transform=None."
        )
    a, b, c, d, e, f = record.transform
    pixel = min(math.hypot(a, d), math.hypot(b, e))
    digits = 3 + max(0, math.ceil(-math.log10(pixel)))  # a thousandth of a pixel
    turned = a * e - b * d < 0  # as usual: y of the reference system points up

    def place(ring):
        x, y = (ring[::-1] if turned else ring).T
        moved = np.stack([a * x + b * y + c, d * x + e * y + f], 1).round(digits)
        return np.concatenate([moved, moved[:1]]).tolist()

    return place


def _crs_member(crs):
    """Returns GeoJSON's old member, which GDAL still writes and reads."""
    crs = crs or _PIXELS
    code = re.fullmatch(r"EPSG:(\d+)", crs.strip(), re.IGNORECASE)
    if code and int(code[1]) == 4326:  # CRS84 is the same with longitude first, as in GeoJSON
        crs = "urn:ogc:def:crs:OGC:1.3:CRS84"
    elif code:
        crs = f"urn:ogc:def:crs:EPSG::{int(code[1])}"
    return {"type": "name", "properties": {"name": crs}}
