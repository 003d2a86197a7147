"""Writes the report of an evaluation: one HTML page, its numbers as JSON, and its plots as SVG."""

import html
import json
import os
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from keras_maskrcnn import files
from keras_maskrcnn.analysis.numbers import report_numbers
from keras_maskrcnn.analysis.plots import draw_plots
from keras_maskrcnn.analysis.thumbnails import gallery
from keras_maskrcnn.data.text import read_json
from keras_maskrcnn.typing import Path

PAGE, NUMBERS, PLOTS = "report.html", "report.json", "plots"
_PAGE = resources.files("keras_maskrcnn.analysis") / "page"
_CELLS = 200_000  # of confusion matrices in the page; with more it has fewer thresholds


def report(
    folder: Path,
    results: Sequence[Mapping[str, Any]],
    annotations: Path | dict[str, Any],
    *,
    images: Path | None = None,
    title: str = "Evaluation",
    bands: Any = None,
    stretch: Any = None,
    overwrite: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Writes report.html, report.json and plots/*.svg into a folder.

    The page is one file that loads nothing from elsewhere. It has sliders for the score of the
    confusion matrix and of the pictures, and filters by kind of error and class.

    Args:
        folder: str or PathLike. It is made if it does not exist.
        results: list of COCO results of all scores, see `match`.
        annotations: path of a COCO annotation file, or its content.
        images: folder of the images, for the pictures; None for outlines alone.
        title: str, above the page. It is plain text.
        bands, stretch: as in `visualize.as_rgb`.
        overwrite: bool. Whether to write into a folder that is not empty. Other files in it stay.
        **options: further arguments of `report_numbers`, such as `metrics` and `iou_type`.

    Returns:
        dict, the content of report.json (docs/report.md).

    Raises:
        FileExistsError: if the folder is not empty and `overwrite` is False, before any work.
        ValueError, DataError: as from `report_numbers`.
    """
    refuse_filled(folder, overwrite)
    if not isinstance(annotations, dict):
        annotations = read_json(annotations)
    numbers = report_numbers(results, annotations, **options)
    look = {"bands": bands, "stretch": stretch}
    plots = draw_plots(numbers)
    worst = gallery(numbers, results, annotations, images, look)
    text = _page(numbers, plots, worst, title)
    os.makedirs(os.path.join(folder, PLOTS), exist_ok=True)
    files.write_json(os.path.join(folder, NUMBERS), numbers)
    for name, plot in plots.items():
        _write(os.path.join(folder, PLOTS, f"{name}.svg"), plot)
    _write(os.path.join(folder, PAGE), text)
    return numbers


def refuse_filled(folder: Path, overwrite: bool) -> None:
    """Raises OSError if a report would be written among other files, or its folder is a file.

    Args:
        folder: str or PathLike, which need not exist.
        overwrite: bool. Whether a filled folder is all right.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(f"report must be a folder. Received: report={str(folder)!r}.")
    if os.path.isdir(folder) and os.listdir(folder) and not overwrite:
        raise FileExistsError(
            "the report's folder is not empty; pass overwrite or another folder. "
            f"Received: report={str(folder)!r}."
        )


def _write(path, text):
    # A file name may have bytes that are no text.
    with (
        files.replacing(path) as new,
        open(new, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write(text)


def _page(numbers, plots, worst, title):
    """Returns the page. Its data lacks what plots show, and images that the gallery lacks."""
    data = {key: value for key, value in numbers.items() if key not in ("curves", "calibration")}
    rows = {entry["image"]: numbers["images"][entry["image"]] for entry in worst}
    data |= {"images": rows, "worst": worst, "confusion": _confusion(numbers["confusion"])}
    css, js, template = (
        (_PAGE / name).read_text(encoding="utf-8")
        for name in ("report.css", "report.js", "index.html")
    )
    figures = "".join(f"<div>{plot}</div>" for plot in plots.values())
    texts = {"title": html.escape(title), "css": css, "js": js, "plots": figures}
    return string.Template(template).substitute(texts, data=_as_json(data))


def _confusion(confusion):
    """Returns the confusion matrices, at fewer thresholds if there are many classes."""
    cells = sum(map(len, confusion["counts"]))
    step = min(max(1, -(-cells // _CELLS)), len(confusion["counts"]))
    return {key: values[::step] for key, values in confusion.items()}


def _as_json(data):
    """Returns JSON in ASCII that cannot end the script element that it is in."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
