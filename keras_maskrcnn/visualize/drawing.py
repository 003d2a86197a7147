"""Draws boxes, masks, names and scores into a picture, with NumPy and Pillow.

Colors are those of Okabe and Ito ("Color Universal Design", 2008) without black, which people with
the common kinds of color blindness can distinguish. Every instance also has an outline and a label.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from keras_maskrcnn import files
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.typing import Path
from keras_maskrcnn.visualize.labels import draw_label, font_of, labeled, text_of, text_size
from keras_maskrcnn.visualize.look import Bands, Stretch
from keras_maskrcnn.visualize.shown import Picture, as_rgb

PALETTE = np.array(
    [
        (230, 159, 0),  # orange
        (86, 180, 233),  # sky blue
        (0, 158, 115),  # bluish green
        (240, 228, 66),  # yellow
        (213, 94, 0),  # vermillion
        (204, 121, 167),  # reddish purple
        (0, 114, 178),  # blue
    ],
    np.uint8,
)
_LEGIBLE_SIDE = 512  # pixels; labels would cover smaller pictures, so these are enlarged


def draw(
    image: Picture,
    detections: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    score_threshold: float = 0.5,
    alpha: float = 0.45,
    color_by: Literal["class", "instance"] = "class",
    colors: np.ndarray | None = None,
    scale: int | Literal["auto"] = "auto",
    max_labels: int = 30,
    bands: Bands = None,
    stretch: Stretch = None,
) -> np.ndarray:
    """Draws detections, or ground truth, into a copy of the image.

    Args:
        image: (H, W, 3) RGB, (H, W) or (H, W, 1) gray, (H, W, 4) RGBA, or (H, W, N) of N bands.
            Transparency is dropped. Or a PIL image, or the path of an image file, which is read as
            `data` reads it.
        detections: dict as `predict_image` returns it, or ground truth: "boxes" (n, 4)
            [x1, y1, x2, y2] in pixels of `image` and "labels" (n,) from 1. Optional are "scores"
            (n,), "masks" (n, H, W) bool and "class_names".
        class_names: sequence of str, label 1 first. None takes those of `detections`. A label
            without a name is shown as its number.
        score_threshold: float in [0, 1]. Detections with a lower score are not drawn. Without
            "scores" all are drawn.
        alpha: float in [0, 1]. Opacity of the color in a mask's pixels.
        color_by: "class" gives each class its own color, the same in every picture. "instance"
            gives neighbors in the list different colors.
        colors: (n, 3) uint8 RGB of each instance. Replaces `color_by`.
        scale: int, or "auto". Factor by which the picture is enlarged smoothly. "auto" takes the
            smallest one that makes the longer side at least 512 pixels.
        max_labels: int. Largest number of labels with name and score. If there are more instances,
            those with the highest scores get labels, or without scores the largest. A label without
            room is then left out.
        bands, stretch: as in `as_rgb`. They are needed for images that are not RGB of 8 bits only.

    Returns:
        (scale * H, scale * W, 3) uint8.

    Raises:
        ValueError: if an argument has another form than above.
        DataError: if a file cannot be read.
    """
    if color_by not in ("instance", "class"):
        raise ValueError(
            f'color_by must be "instance" or "class". Received: color_by={color_by!r}.'
        )
    if not 0 <= score_threshold <= 1:
        raise ValueError(
            f"score_threshold must be in 0..1. Received: score_threshold={score_threshold!r}."
        )
    image = as_rgb(image, bands, stretch)
    if scale == "auto":
        scale = -(-_LEGIBLE_SIDE // max(image.shape[:2]))  # 1 for large pictures
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f'scale must be a positive int or "auto". Received: scale={scale!r}.')
    boxes = np.asarray(detections["boxes"], np.float32).reshape(-1, 4) * scale
    labels = np.asarray(detections["labels"], np.int64)
    scores, masks = detections.get("scores"), detections.get("masks")
    class_names = detections.get("class_names", ()) if class_names is None else class_names
    shown = labels > 0
    if scores is not None:
        scores = np.asarray(scores)
        shown &= scores >= score_threshold
    order = largest_first(boxes, shown)
    if colors is None:
        colors = colors_of(labels - 1 if color_by == "class" else np.cumsum(shown) - 1)

    pixels = _enlarge(image, scale).astype(np.float32)
    line = max(1, round(max(pixels.shape[:2]) / 280))
    if masks is not None:
        masks = _of_size(masks, image.shape[:2])
        for i in order:
            mask, (y, x) = _enlarge_mask(masks, i, image, scale, line)
            window = pixels[y : y + mask.shape[0], x : x + mask.shape[1]]
            _blend(window, mask, colors[i], alpha, line)
    canvas = Image.fromarray(np.rint(pixels).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for i in order:
        _draw_box(pen, boxes[i], colors[i], line)
    chosen = labeled(order, scores, max_labels)
    crowded, font = len(chosen) < len(order), font_of(max(pixels.shape[:2]) // 44)
    placed: list[tuple[np.ndarray, np.ndarray]] = []
    for i in chosen:
        text = text_of(int(labels[i]), class_names, None if scores is None else scores[i])
        draw_label(pen, text, boxes[i], colors[i], font, placed, need_room=crowded)
    return np.asarray(canvas)


def grid(
    pictures: Sequence[Picture], columns: int, titles: Sequence[str] | None = None
) -> np.ndarray:
    """Puts pictures side by side, row by row, on white.

    Args:
        pictures: list of (h, w, 3) uint8, or of anything that `draw` takes as an image. Sizes may
            differ: each picture is centered in its cell.
        columns: int. Pictures per row.
        titles: list of str. The text above each picture; None for no titles.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: if there is no picture, or the number of titles differs.
    """
    if not pictures or (titles is not None and len(titles) != len(pictures)):
        raise ValueError(
            "there must be at least one picture, and as many titles as pictures. "
            f"Received: {len(pictures)} pictures, titles={titles}."
        )
    images = [as_rgb(picture) for picture in pictures]
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    gap = max(4, width // 64)
    font = font_of(width // 28)
    header = 0 if titles is None else text_size(font, "Ag")[1] + gap
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    size = (gap + columns * (width + gap), gap + rows * (header + height + gap))
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for i, image in enumerate(images):
        x = gap + i % columns * (width + gap)
        y = gap + i // columns * (header + height + gap)
        if titles is not None:
            pen.text((x + width / 2, y), titles[i], fill="black", font=font, anchor="ma")
        offset = (width - image.shape[1]) // 2, (height - image.shape[0]) // 2
        canvas.paste(Image.fromarray(image), (x + offset[0], y + header + offset[1]))
    return np.asarray(canvas)


def legend(picture: np.ndarray, entries: Mapping[str, np.ndarray]) -> np.ndarray:
    """Adds a legend of colors below a picture, on white, in as many lines as needed.

    Args:
        picture: (H, W, 3) uint8.
        entries: dict. Maps each text to its color, (3,) uint8 RGB.

    Returns:
        (H + h, W, 3) uint8; the picture itself if there are no entries.
    """
    height, width = picture.shape[:2]
    font = font_of(width // 56)
    line = text_size(font, "Ag")[1] + 4
    x, y = line // 2, height + line // 2
    places: list[tuple[int, int]] = []
    for text in entries:
        length = 2 * line + text_size(font, text)[0]  # a square, the text, a gap
        if x + length > width and places:
            x, y = line // 2, y + line
        places.append((x, y))
        x += length
    if not places:
        return picture
    canvas = Image.new("RGB", (width, y + line + line // 2), "white")
    canvas.paste(Image.fromarray(picture))
    pen = ImageDraw.Draw(canvas)
    for (text, color), (x, y) in zip(entries.items(), places, strict=True):
        square = (x, y + 2, x + line - 5, y + line - 3)
        pen.rectangle(square, fill=tuple(np.asarray(color).tolist()), outline="black")
        pen.text((x + line, y + 2), text, fill="black", font=font, anchor="la")
    return np.asarray(canvas)


def save_png(path: Path, image: Picture) -> None:
    """Writes a picture as PNG. Makes the folder if it is missing.

    Args:
        path: str or PathLike. Ends in .png, or has no suffix.
        image: anything that `draw` takes as an image.

    Raises:
        ValueError: if the path has another suffix, or `image` is no image.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in ("", ".png"):
        raise ValueError(f"the suffix of a PNG must be .png. Received: path={str(path)!r}.")
    picture = Image.fromarray(as_rgb(image))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path, sync=False) as new:
        picture.save(new, format="PNG")


def largest_first(boxes: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Sorts the shown boxes by falling area, so that small ones are drawn last and stay visible.

    Args:
        boxes: (n, 4) [x1, y1, x2, y2].
        shown: (n,) bool.

    Returns:
        (k,) int. Indices of the shown boxes.
    """
    order = np.flatnonzero(shown)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return order[np.argsort(-areas[order], kind="stable")]


def colors_of(keys: np.ndarray) -> np.ndarray:
    """Returns the colors of classes or instances: PALETTE, then lighter ones, repeated.

    Args:
        keys: (n,) int from 0. For a class its label less 1.

    Returns:
        (n, 3) uint8 RGB.
    """
    base, lighter = PALETTE[keys % len(PALETTE)], keys // len(PALETTE) % 2
    return base + lighter.astype(np.uint8)[:, None] * ((255 - base) // 2)


def _enlarge(image, scale):
    """Enlarges a picture (H, W, 3) uint8 smoothly."""
    if scale == 1:
        return image
    size = image.shape[1] * scale, image.shape[0] * scale
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _of_size(masks, size):
    """Returns masks as InstanceMasks; raises ValueError if they do not have the image's size."""
    if tuple(np.shape(masks)[1:]) != size and len(masks):
        raise ValueError(
            f"masks must have the size of the image, {size}; ops.masks.paste_binary"
            f" pastes a box's mask. Received: shape={np.shape(masks)[1:]}."
        )
    return InstanceMasks.of(masks)


def _enlarge_mask(masks, index, image, scale, border):
    """Enlarges a mask smoothly; returns the part with the object, (h, w) bool, and its (y, x).

    Around the object there are `border` pixels, except at the edge of the picture.
    """
    if scale == 1:
        region, (y, x) = masks.crop(index)
        top, left = max(0, y - border), max(0, x - border)
        bottom = min(image.shape[0], y + region.shape[0] + border)
        right = min(image.shape[1], x + region.shape[1] + border)
        around = (y - top, bottom - y - region.shape[0]), (x - left, right - x - region.shape[1])
        return np.pad(region, around), (top, left)
    mask = masks[index]
    gray = Image.fromarray(mask.astype(np.uint8) * 255)
    size = mask.shape[1] * scale, mask.shape[0] * scale
    return np.asarray(gray.resize(size, Image.Resampling.BILINEAR)) >= 128, (0, 0)


def _blend(pixels, mask, color, alpha, line):
    """Colors a mask in place: its border of `line` pixels fully, the rest with opacity `alpha`."""
    inner = mask
    for _ in range(line):  # erodes by one pixel, but not at the edge of the picture
        padded = np.pad(inner, 1, constant_values=True)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    pixels[inner] += alpha * (color - pixels[inner])
    pixels[mask & ~inner] = color


def _draw_box(pen, box, color, line):
    width, height = pen.im.size
    left, top = max(0, round(float(box[0]))), max(0, round(float(box[1])))
    right, bottom = min(width, round(float(box[2]))) - 1, min(height, round(float(box[3]))) - 1
    if left <= right and top <= bottom:
        pen.rectangle((left, top, right, bottom), outline=tuple(color.tolist()), width=line)
