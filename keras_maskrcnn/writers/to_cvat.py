"""CVAT for images 1.1, and the labels that CVAT needs before it reads them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from keras_maskrcnn.instance_masks import trimmed
from keras_maskrcnn.writers.base import OneFile, xml_text
from keras_maskrcnn.writers.outlines import has_one_ring
from keras_maskrcnn.writers.record import ImageRecord


class Cvat(OneFile):
    """Writes `cvat.xml`, and `cvat_labels.json` for CVAT's labels.

    An object of one part without holes is a polygon, every other one a mask. Its score is the
    attribute `score`, which the labels define.
    """

    place = "cvat.xml"
    companion = "cvat_labels.json"
    modules = ("shapely",)

    def head(self) -> str:
        """Returns version and labels."""
        attribute = (
            "<attribute><name>score</name><mutable>False</mutable><input_type>text</input_type>"
            "<default_value></default_value><values></values></attribute>"
        )
        labels = "\n".join(
            f"<label><name>{escape(xml_text(name))}</name><type>any</type>"
            f"<attributes>{attribute}</attributes></label>"
            for name in self.categories().values()
        )
        return (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><mode>annotation</mode><labels>\n{labels}\n</labels></task></meta>\n"
        )

    def tail(self) -> str:
        """Returns the end tag."""
        return "</annotations>\n"

    def companion_text(self) -> str:
        """Returns the labels for CVAT's tab "Raw"."""
        score = {"name": "score", "input_type": "text", "mutable": False, "values": [""]}
        names = self.categories().values()
        labels = [{"name": xml_text(name), "attributes": [score]} for name in names]
        return json.dumps(labels, indent=1, ensure_ascii=False) + "\n"

    def pieces(self, record: ImageRecord, found: Mapping[str, Any]) -> Iterator[str]:
        """Yields an image with its shapes."""
        name = quoteattr(xml_text(record.posix_name))
        size = f'width="{record.width}" height="{record.height}"'
        yield f'<image id="{self.images}" name={name} {size}>\n'
        for one, parts in self.outlined(found):
            tag, shape = _shape(one, parts)
            yield (
                f'<{tag} label={quoteattr(xml_text(one.class_name))} source="auto" occluded="0" '
                f'{shape} z_order="0"><attribute name="score">{one.score:.4f}</attribute></{tag}>\n'
            )
        yield "</image>\n"


def _shape(one, parts):
    """Returns an object's tag and its attributes of place."""
    if one.region is None:
        x1, y1, x2, y2 = (round(value, 2) for value in one.box)
        return "box", f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"'
    if has_one_ring(parts):
        points = ";".join(f"{x},{y}" for x, y in parts[0][0].tolist())
        return "polygon", f'points="{points}"'
    region, (top, left) = trimmed(one.region, one.origin)
    height, width = region.shape
    # Run lengths along the rows, of zeros first.
    edges = np.flatnonzero(np.diff(region.ravel().view(np.int8), prepend=0))
    counts = ", ".join(map(str, np.diff(edges, prepend=0, append=region.size).tolist()))
    place = f'left="{left}" top="{top}" width="{width}" height="{height}"'
    return "mask", f'rle="{counts}" {place}'
