"""The labels of a picture: which instances get one, and where it fits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import ImageDraw, ImageFont


def labeled(order: np.ndarray, scores: np.ndarray | None, max_labels: int) -> list[int]:
    """Chooses the instances that get a label.

    Args:
        order: (n,) int. Indices of instances, the largest first.
        scores: (N,) scores of all instances, or None.
        max_labels: int.

    Returns:
        list of at most `max_labels` int, the smallest instance first: labels are placed in this
            order. Instances with the best scores are chosen, or without scores the largest.
    """
    best = order
    if len(order) > max_labels and scores is not None:
        best = order[np.argsort(-scores[order], kind="stable")]
    best = set(best[:max_labels].tolist())
    return [i for i in order[::-1].tolist() if i in best]


def text_of(label: int, class_names: Sequence[str], score: float | None) -> str:
    """Returns the text of a label: the class' name or number, and the score if there is one."""
    text = str(class_names[label - 1]) if label <= len(class_names) else str(label)
    return text if score is None else f"{text} {float(score):.2f}"


def draw_label(
    pen: ImageDraw.ImageDraw,
    text: str,
    box: np.ndarray,
    color: np.ndarray,
    font: Any,
    placed: list[tuple[np.ndarray, np.ndarray]],
    need_room: bool,
) -> None:
    """Writes a label at its box, inside the picture, and not over earlier labels if possible.

    Args:
        pen: of the picture.
        text: str.
        box: (4,) [x1, y1, x2, y2] in pixels of the picture.
        color: (3,) uint8 RGB of the background.
        font: as from `font_of`.
        placed: list of (upper left, lower right) of earlier labels; this one is added.
        need_room: bool. Whether to leave out a label that has no free place.
    """
    pad = 2
    text_width, text_height = text_size(font, text)
    size = np.array([text_width + 2 * pad, text_height + 2 * pad])
    limit = np.maximum(np.array(pen.im.size) - size, 0)
    x1, y1, x2, y2 = (float(v) for v in box)
    choices = [
        (x, y)
        for y in (y1 - size[1], y1, y2, y2 - size[1], (y1 + y2 - size[1]) / 2)
        for x in (x1, x2 - size[0])
    ]
    choices = [np.clip(np.rint(choice), 0, limit).astype(int) for choice in choices]
    free = [c for c in choices if not any(_overlap(c, c + size, *other) for other in placed)]
    if need_room and not free:
        return
    corner = (free or choices)[0]
    placed.append((corner, corner + size))
    # Black or white, whichever has more contrast to the color.
    ink = "black" if color @ np.array([0.299, 0.587, 0.114]) > 110 else "white"
    background = (*corner.tolist(), *(corner + size - 1).tolist())
    pen.rectangle(background, fill=tuple(color.tolist()))
    pen.text((corner + pad).tolist(), text, fill=ink, font=font, anchor="la")


def _overlap(corner, end, other_corner, other_end):
    return bool(np.all(corner < other_end) and np.all(other_corner < end))


def font_of(size: int) -> Any:
    """Returns Pillow's font of a size in pixels, at least 13."""
    return ImageFont.load_default(max(13, size))


def text_size(font: Any, text: str) -> tuple[int, int]:
    """Returns the width and the height of a line of text, in pixels."""
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)), ascent + descent
