"""A small picture of a large image, with the outlines of its objects."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from keras_maskrcnn import visualize
from keras_maskrcnn.data.errors import check_on_error
from keras_maskrcnn.typing import OnError
from keras_maskrcnn.viewer.chosen import (
    kind_of,
    labels_of,
    masks_of,
    names_of,
    require_score,
    shown_objects,
)
from keras_maskrcnn.viewer.outline import outlines
from keras_maskrcnn.viewer.windows import look_at, read_window
from keras_maskrcnn.visualize.look import Bands, Stretch
from keras_maskrcnn.visualize.shown import shown_source

_SMOOTHING = 2  # lines are drawn this much larger, because Pillow draws them with hard edges
_LEGEND = 20  # classes; more would be a list, and no legend


def draw_overview(
    source: Any,
    found: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    max_side: int = 2048,
    score_threshold: float = 0.5,
    legend: bool = True,
    on_error: OnError = "raise",
    bands: Bands = None,
    stretch: Stretch = None,
) -> np.ndarray:
    """Draws a large image downsampled, with the outline of each object in the color of its class.

    The source reads the image block by block. Colors are those of `visualize.draw`. A legend below
    has the most frequent classes with their numbers of objects.

    Args:
        source: a `Source`, or anything that `data.sources.open_source` takes.
        found: dict as `predict_image` and `predict_large` return it: "boxes" (n, 4) and "labels"
            (n,); optional are "scores", "masks" and "class_names". Without masks boxes are drawn.
        class_names: sequence of str, label 1 first. None takes those of `found`.
        max_side: int. The longer side of the picture in pixels, without the legend. Smaller images
            keep their size.
        score_threshold: float in [0, 1]. Objects with a lower score are not drawn.
        legend: bool. Whether to add the legend.
        on_error: "raise", or "skip": parts of the image that cannot be read are gray.
        bands, stretch: as in `visualize.as_rgb`, for images of other than 8-bit RGB.

    Returns:
        (h, w, 3) uint8.

    Raises:
        ValueError: if an argument has another form than above.
        DataError: if the image cannot be read, or a part of it with "raise".
    """
    if not isinstance(max_side, int | np.integer) or max_side < 1:
        raise ValueError(f"max_side must be a positive int. Received: max_side={max_side!r}.")
    require_score(score_threshold)
    check_on_error(on_error)
    order = shown_objects(found, score_threshold)
    boxes = np.asarray(found["boxes"], float).reshape(-1, 4)
    names, labels = names_of(found, class_names), labels_of(found)
    with shown_source(source, bands, stretch, kind_of(found)) as image:
        masks = masks_of(found, image)
        scale = min(1, max_side / max(image.height, image.width))
        size = max(1, round(image.height * scale)), max(1, round(image.width * scale))
        look = look_at(image, bands, stretch, on_error)
        pixels = read_window(image, 0, 0, image.height, image.width, size, on_error, look)
        factors = size[1] / image.width, size[0] / image.height
    large = size[1] * _SMOOTHING, size[0] * _SMOOTHING
    lines = Image.new("RGBA", large)
    pen = ImageDraw.Draw(lines)
    width = _line_width(boxes[order] * factors[0], max(size))
    for i in order.tolist():
        color = tuple(visualize.colors_of(labels[i : i + 1] - 1)[0].tolist())
        for ring in _rings(found, masks, i):
            points = (ring * factors * _SMOOTHING).ravel().tolist()
            pen.line([*points, *points[:4]], fill=color, width=width, joint="curve")
    picture = Image.fromarray(pixels)
    picture.paste(lines.reduce(_SMOOTHING), mask=lines.getchannel("A").reduce(_SMOOTHING))
    drawn = np.asarray(picture)
    return visualize.legend(drawn, _legend(labels[order], names)) if legend else drawn


def _line_width(boxes, side):
    """Returns a width, in smoothed pixels, that suits the objects of a picture of this side."""
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, initial=1))
    typical = float(np.median(sides)) if len(sides) else 0.0
    return round(_SMOOTHING * min(max(1.5, typical / 12), max(1.5, side / 280)))


def _rings(found, masks, index):
    """Returns the outlines of an object, or of its box, as list of (k, 2) [x, y]."""
    if masks is None:
        x1, y1, x2, y2 = np.asarray(found["boxes"][index], float)
        return [np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])]
    region, (top, left) = masks.crop(index)
    return [ring + (left, top) for ring in outlines(region)]


def _legend(labels, names):
    """Returns {text: color} of the most frequent classes, and how many objects are of others."""
    counts = np.bincount(labels, minlength=1)
    frequent = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    entries = {
        f"{names[label - 1]} ({counts[label]:,})": visualize.colors_of(label[None] - 1)[0]
        for label in frequent[:_LEGEND]
    }
    others = sum(counts[label] for label in frequent[_LEGEND:])
    return {**entries, **({f"others ({others:,})": np.full(3, 255, np.uint8)} if others else {})}
