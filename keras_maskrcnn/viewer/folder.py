"""Writes a folder with a page that shows an image and its objects, without any network."""

import html
import json
import os
import re
import shutil
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from keras_maskrcnn import files, visualize
from keras_maskrcnn.data.errors import check_on_error
from keras_maskrcnn.typing import OnError, Path
from keras_maskrcnn.viewer.chosen import kind_of, labels_of, masks_of, names_of, require_score
from keras_maskrcnn.viewer.objects import write_objects
from keras_maskrcnn.viewer.pyramid import TILE, write_pyramid
from keras_maskrcnn.viewer.windows import look_at
from keras_maskrcnn.visualize.look import Bands, Stretch
from keras_maskrcnn.visualize.shown import shown_source

_PAGE = resources.files("keras_maskrcnn.viewer") / "page"


def write_viewer(
    folder: Path,
    source: Any,
    found: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    title: str | None = None,
    score_threshold: float = 0.5,
    quality: int = 85,
    overwrite: bool = False,
    on_error: OnError = "raise",
    bands: Bands = None,
    stretch: Stretch = None,
) -> str:
    """Writes a viewer: a folder whose index.html opens by a double click, also from a USB stick.

    The page pans and zooms, has a slider for the score and a filter of classes, and tells class,
    score and area of an object that is clicked. The image becomes JPEG tiles, read and written
    block by block. OpenSeadragon (BSD 3-Clause) shows them. The page loads nothing from elsewhere.

    The folder appears when it is complete. A process that is killed leaves a folder `unfinished-*`,
    which may be deleted.

    Args:
        folder: str or PathLike. The folder to make.
        source: a `Source`, or anything that `data.sources.open_source` takes.
        found: dict as `predict_image` and `predict_large` return it: "boxes" (n, 4) and "labels"
            (n,); optional are "scores", "masks" and "class_names". Without masks boxes are shown.
        class_names: sequence of str, label 1 first. None takes those of `found`.
        title: str, above the page. None takes the source's name, without its folders.
        score_threshold: float in [0, 1]. Where the slider is at first. All objects are written.
        quality: int from 1 to 95, of the JPEG tiles.
        overwrite: bool. Whether to replace an older viewer. Other folders are never replaced.
        on_error: "raise", or "skip": parts of the image that cannot be read are gray.
        bands, stretch: as in `visualize.as_rgb`, for images of other than 8-bit RGB.

    Returns:
        str. The path of index.html.

    Raises:
        FileExistsError: if `folder` exists, and is no viewer or `overwrite` is False.
        ValueError: if an argument has another form than above.
        DataError: if the image cannot be read, or a part of it with "raise".
    """
    folder = os.path.abspath(folder)
    require_score(score_threshold)
    check_on_error(on_error)
    _refuse_existing(folder, overwrite)
    if not 1 <= quality <= 95:
        raise ValueError(f"quality must be in 1..95. Received: quality={quality!r}.")
    order, names = np.flatnonzero(labels_of(found) > 0), names_of(found, class_names)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    new = files.unfinished(folder)
    try:
        with shown_source(source, bands, stretch, kind_of(found)) as image:
            found = {**found, "masks": masks_of(found, image)}
            os.makedirs(os.path.join(new, "objects"))
            look = look_at(image, bands, stretch, on_error)
            levels = write_pyramid(new, "image", image, quality, on_error, look)
            scripts = write_objects(os.path.join(new, "objects"), found, order)
            title = os.path.basename(os.path.normpath(image.name)) if title is None else title
            about = _about(image, found, order, names, levels, score_threshold)
        _write_page(new, title, about, scripts)
        _put(new, folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return os.path.join(folder, "index.html")


def _refuse_existing(folder, overwrite):
    if not os.path.lexists(folder):
        return
    if not overwrite:
        raise FileExistsError(f"{folder} exists; pass overwrite=True or another folder.")
    if not os.path.isfile(os.path.join(folder, "page", "viewer.js")):
        raise FileExistsError(f"{folder} exists and is no viewer, so it is not overwritten.")


def _about(source, found, order, names, levels, score_threshold):
    """Returns what the page must know, as JSON."""
    labels = labels_of(found)[order]
    counts = np.bincount(labels, minlength=len(names) + 1)[1:]
    colors = visualize.colors_of(np.arange(len(names)))
    return {
        "width": source.width,
        "height": source.height,
        "tile": TILE,
        "levels": levels,
        "objects": len(order),
        "scores": found.get("scores") is not None,
        "lowest": score_threshold,
        "micronsPerPixel": source.microns_per_pixel,
        "crs": _short(source.crs),
        "transform": source.transform,
        "classes": [
            {"name": name, "color": "#" + bytes(color).hex(), "objects": int(count)}
            for name, color, count in zip(names, colors, counts, strict=True)
        ],
    }


def _short(crs):
    """Returns a code like "EPSG:32633" as it is, and of WKT the name that it begins with."""
    name = re.search('"([^"]+)"', crs or "")
    return name[1] if name else crs


def _write_page(folder, title, about, scripts):
    """Writes index.html and the folder page/."""
    page = os.path.join(folder, "page")
    os.makedirs(page)
    for item in _PAGE.iterdir():
        if item.name != "index.html":
            with open(os.path.join(page, item.name), "wb") as file:
                file.write(item.read_bytes())
    # JSON in ASCII is also JavaScript.
    with open(os.path.join(page, "image.js"), "w", encoding="ascii") as file:
        file.write(f"const IMAGE = {json.dumps(about, indent=1)};\n")
    template = string.Template((_PAGE / "index.html").read_text(encoding="utf-8"))
    tags = "\n".join(f'<script src="objects/{name}"></script>' for name in scripts)
    # A file name may have bytes that are no text.
    path = os.path.join(folder, "index.html")
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(template.substitute(title=html.escape(title), scripts=tags))


def _put(new, folder):
    """Renames a complete folder; an older one is moved away first, and then deleted."""
    if not os.path.lexists(folder):
        os.rename(new, folder)
        return
    old = files.unfinished(folder)
    os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old)
