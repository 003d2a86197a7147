"""Label Studio's tasks with predictions, and the labeling configuration that fits them."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from keras_maskrcnn.writers.base import OneFile, xml_text
from keras_maskrcnn.writers.outlines import has_one_ring, joined
from keras_maskrcnn.writers.record import ImageRecord

# Label Studio holds every brush as a picture of the whole image, of four bytes per pixel.
MAX_BRUSH_PIXELS = 4096**2
_COUNT_BITS = np.array([3, 4, 8, 16])  # lengths of runs, as Label Studio writes them


class LabelStudio(OneFile):
    """Writes `label_studio.json` to import, and `label_studio_config.xml` for the project.

    An object of one part without holes is a polygon. Others are brushes; in images above
    `MAX_BRUSH_PIXELS` they are polygons too, with lines there and back between the rings.
    """

    place = "label_studio.json"
    companion = "label_studio_config.xml"
    modules = ("shapely",)

    def head(self) -> str:
        """Returns the bracket of the list of tasks."""
        return "["

    def tail(self) -> str:
        """Returns the bracket of the list of tasks."""
        return "\n]\n"

    def companion_text(self) -> str:
        """Returns the labeling configuration."""
        names = self.categories().values()
        labels = "".join(f"    <Label value={quoteattr(xml_text(name))}/>\n" for name in names)
        tags = "".join(
            f'  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n'
            for name, tag in (
                ("polygon", "PolygonLabels"),
                ("brush", "BrushLabels"),
                ("rectangle", "RectangleLabels"),
            )
        )
        image = '  <Image name="image" value="$image" zoom="true"/>\n'
        return f"<View>\n{image}{tags}</View>\n"

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields a task, a line per region."""
        yield ",\n" if self.images else "\n"
        data = json.dumps({"image": f"/data/local-files/?d={quote(os.fsencode(_served(record)))}"})
        prediction: dict[str, Any] = {"model_version": "keras_maskrcnn"}
        if len(found["scores"]):
            prediction["score"] = round(float(np.mean(found["scores"])), 6)
        yield f'{{"data": {data},\n"predictions": [{json.dumps(prediction)[:-1]}, "result": ['
        for i, region in enumerate(self._regions(record, found)):
            yield (",\n" if i else "\n") + json.dumps(region)
        yield "\n]}]}"

    def _regions(self, record, found):
        height, width = int(record.height), int(record.width)
        brushes = height * width <= MAX_BRUSH_PIXELS
        value: dict[str, Any]
        for one, parts in self.outlined(found):
            if one.region is None:
                x1, y1, x2, y2 = _percent(np.reshape(one.box, (2, 2)), height, width).ravel()
                kind, value = "rectangle", {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
                value["rotation"] = 0
            elif has_one_ring(parts) or not brushes:
                points = _percent(joined(parts), height, width).tolist()
                kind, value = "polygon", {"points": points, "closed": True}
            else:
                counts = brush_counts(one.region, one.origin, height, width)
                kind, value = "brush", {"format": "rle", "rle": counts}
            yield {
                "id": f"{self.images + 1}-{one.number}",
                "type": f"{kind}labels",
                **{"from_name": kind, "to_name": "image"},
                **{"original_width": width, "original_height": height, "image_rotation": 0},
                "score": round(one.score, 6),
                "value": {**value, f"{kind}labels": [one.class_name]},
            }


def brush_counts(region: np.ndarray, origin: tuple[int, int], height: int, width: int) -> list[int]:
    """Encodes a mask as the run lengths of Label Studio's brush (the format of thi.ng/rle-pack).

    A mask is a picture of four channels, row by row, with 255 inside. Its bits are: 32 for the
    number of values, 5 for the bits of a value, four times 4 for the bits of a length. Then each
    run has 1, two bits for which kind of length follows, the length, and the value. All of these
    are less by one than what they stand for, except values and the number of them.

    Args:
        region: (h, w) bool. The mask inside its window.
        origin: (y, x) of the window's upper left pixel.
        height, width: int. Size of the image; 4 * height * width must be below 2 ** 32.

    Returns:
        list of int in 0..255, the bytes.
    """
    rows = np.zeros((region.shape[0], region.shape[1] + 1), bool)
    rows[:, :-1] = region  # a zero after each row ends all runs at its border
    steps = np.flatnonzero(np.diff(rows.ravel().view(np.int8), prepend=0))
    row, column = np.divmod(steps, rows.shape[1])
    edges = 4 * ((row + origin[0]) * width + column + origin[1])
    lengths = np.diff(edges, prepend=0, append=4 * height * width)
    values = np.arange(len(lengths)) % 2 * 255
    # The longest length is 65536.
    longest = 1 << int(_COUNT_BITS[-1])
    repeats = -(-lengths // longest)
    rest = lengths - (repeats - 1) * longest
    last = np.cumsum(repeats)[repeats > 0] - 1
    values = np.repeat(values, repeats)
    lengths = np.full(len(values), longest)
    lengths[last] = rest[repeats > 0]
    kinds = np.searchsorted(1 << _COUNT_BITS, lengths)
    bits = _COUNT_BITS[kinds]
    codes = ((4 + kinds) << bits | (lengths - 1)) << 8 | values
    header = np.array([4 * height * width, 8 - 1, *(_COUNT_BITS - 1)])
    codes = np.concatenate([header, codes])
    used = np.concatenate([[32, 5, 4, 4, 4, 4], 3 + bits + 8])
    unpacked = np.unpackbits(codes.astype(">u4").view(np.uint8)).reshape(-1, 32)
    return np.packbits(unpacked[np.arange(32) >= 32 - used[:, None]]).tolist()


def _percent(points, height, width):
    """Returns points as Label Studio's percent of the sides."""
    return (np.asarray(points, float) * [100 / width, 100 / height]).round(6)


def _served(record):
    """Returns the path that Label Studio serves if its root is the parent of the image folder."""
    name = record.posix_name
    path = "" if record.path is None else os.path.abspath(record.path).replace(os.sep, "/")
    if not path.endswith(f"/{name}"):
        return name
    return f"{os.path.basename(path.removesuffix(f'/{name}'))}/{name}".lstrip("/")
