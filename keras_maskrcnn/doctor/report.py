"""Shows the findings of `examine` as text, and as one HTML page with pictures.

Names and ids come from an untrusted file. Text is made printable, and HTML is escaped.
"""

import base64
import contextlib
import html
import io
import itertools
import os
from typing import Any

import numpy as np
from PIL import Image

from keras_maskrcnn import visualize
from keras_maskrcnn.data import coco_checks
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.data.images import REMARKS, remark_line
from keras_maskrcnn.data.pixels import read_sized
from keras_maskrcnn.data.tiled_set import open_big_image
from keras_maskrcnn.doctor import likely_mistakes, pixel_ranges
from keras_maskrcnn.doctor.findings import Examination, printable
from keras_maskrcnn.ops import rle

PICTURES = 12
PICTURE_SIDE = 320  # pixels, the longer side
ROWS = 30  # rows of a table in the text; the page has all rows
LISTED = 200  # lines on the page; report.json has all lines


def text(report: dict[str, Any]) -> str:
    """Returns the summary of a report of `examine`, in about ten to fifty lines."""
    parts = [_sentence(report)]
    for title, header, rows in _tables(report):
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [header, *rows[:ROWS]]
        ]
        if len(rows) > ROWS:
            lines.append(f"... and {len(rows) - ROWS} more")
        parts.append("\n".join([f"{title}:", *("  " + line for line in lines)]))
    parts += [report["tiles"]["text"]] if report["tiles"] else []
    for remark in REMARKS:
        names = [p["file_name"] for p in report["problems"] if p["kind"] == remark]
        parts += [printable(remark_line(remark, names))] if names else []
    told = (likely_mistakes.BOXES_ALONE, *pixel_ranges.KINDS)
    parts += [p["line"] for p in report["problems"] if p["kind"] in told]
    return "\n\n".join(parts)


def page(
    report: dict[str, Any],
    found: Examination,
    bands: visualize.Bands = None,
    stretch: visualize.Stretch = None,
) -> str:
    """Returns a self-contained HTML page with the tables, pictures of problems, and all lines.

    Args:
        report, found: the results of `examine`.
        bands, stretch: as in `visualize.as_rgb`, for the pictures.
    """
    look = {"bands": bands, "stretch": stretch}
    body = [f"<p>{_escape(_sentence(report))}</p>"]
    for title, header, rows in _tables(report):
        body.append(f"<h2>{_escape(title)}</h2><table>{_row(header, 'th')}")
        body += [_row(row, "td") for row in rows]
        body.append("</table>")
    if report["tiles"]:
        text = "<br>".join(map(_escape, report["tiles"]["text"].splitlines()))
        body.append(f"<h2>Tiles</h2><p>{text}</p>")
    worst = list(itertools.islice(_worst(found), PICTURES))
    if worst:
        body.append(
            "<h2>Examples of problems</h2><p>The frame shows the box, the tint the mask.</p><div>"
        )
        for problem in worst:
            caption = f"<b>{_escape(problem.kind)}</b> {_escape(problem.line)}"
            body.append(f'<figure><img alt="" src="{_picture(found, problem, look)}">')
            body.append(f"<figcaption>{caption}</figcaption></figure>")
        body.append("</div>")
    lines = report["problems"][:LISTED]
    if lines:
        title = f"The first {LISTED} of {len(report['problems'])} lines; report.json has all"
        body.append(f"<h2>{title if len(lines) == LISTED else 'All lines'}</h2><ul>")
        body += [f"<li><b>{p['severity']}</b> {_escape(p['line'])}</li>" for p in lines]
        body.append("</ul>")
    return _PAGE.format(title=_escape(report["annotations"]), body="\n".join(body))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; max-width: 1040px; margin: 2em auto; padding: 0 1em; }}
h1 {{ font-size: 1.4em; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1em; margin-top: 2em; }}
table {{ border-collapse: collapse; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 2px 16px 2px 0; text-align: left; }}
td {{ overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }}
div {{ display: flex; flex-wrap: wrap; gap: 16px; }}
figure {{ margin: 0; width: 320px; }}
figcaption, li {{ font-size: 13px; overflow-wrap: anywhere; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def _sentence(report):
    counts, severities = report["counts"], report["severities"]
    verdict = "training would fail" if severities["error"] else "training would run"
    decoded = report["decoded_images"]
    part = f" Only {decoded} images were decoded." if 0 < decoded < counts["images"] else ""
    return (
        f"{printable(report['annotations'])}: {counts['images']} images,"
        f" {counts['annotations']} annotations, {counts['categories']} categories;"
        f" {severities['error']} errors, {severities['dropped']} dropped,"
        f" {severities['warning']} warnings: {verdict}.{part}"
    )


def _tables(report):
    """Yields (title, header, rows) of every table that has rows; all cells are str."""
    if report["kinds"]:
        rows: list[Any] = []
        for kind in report["kinds"]:
            more = ", ..." if kind["count"] > len(kind["examples"]) > 0 else ""
            ids = ", ".join(printable(repr(i), 30) for i in kind["examples"]) + more
            rows.append((kind["severity"], kind["kind"], str(kind["count"]), ids))
        yield "Problems", ("severity", "kind", "count", "ids"), rows
    images = report["instances_per_image"]
    if images:
        names = ("min", "median", "p95", "max", "total")
        rows, names = [[f"{images[name]:g}" for name in names]], [*names]
        if images["slots"]:
            names += ["slots", "images over", "instances without slot"]
            rows[0] += [str(images[name.replace(" ", "_")]) for name in names[5:]]
        yield "Instances per image", names, rows
    if report["classes"]:
        header = ("id", "name", "instances", "images")
        rows = [[printable(str(c[name]), 40) for name in header] for c in report["classes"]]
        yield "Classes", header, rows
    sizes = report["sizes"]
    if sizes:
        header = ("side", "instances", "anchor IoU >= 0.7", "IoU >= 0.5", "mean best IoU")
        rows = []
        for row in [*sizes["bins"], {**sizes["all"], "name": "all"}]:
            side = f"{row['from']} to {row['to']}" if row["to"] else f"{row['from']} and more"
            shares = (f"{row[name]:.1%}" for name in ("recall_0.7", "recall_0.5"))
            count, mean = str(row["instances"]), f"{row['mean_iou']:.3f}"
            rows.append((row.get("name", side), count, *shares, mean))
        yield "Sizes of the resized boxes (square root of the area, in pixels)", header, rows
    if report["pixels"]:
        header = ("band", "min", "max", "mean of 255", "std of 255")
        rows = []
        for row in report["pixels"]["bands"]:
            shares = (f"{row[name]:.2f}" for name in ("mean", "std"))
            rows.append((str(row["band"]), f"{row['min']:g}", f"{row['max']:g}", *shares))
        yield "Values of the pixels, and pixel_mean and pixel_std that fit them", header, rows


def _escape(value):
    return html.escape(printable(str(value)))


def _row(cells, tag):
    return f"<tr>{''.join(f'<{tag}>{_escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _worst(found):
    """Yields problems in usable images: the first of each kind, then the second of each, ..."""
    bad = found.bad_images()
    rounds: dict[str, Any] = {}
    turns: dict[str, Any] = {}
    for problem in found.problems:
        if problem.image is not None and problem.image not in bad:
            turns[problem.kind] = turn = turns.get(problem.kind, 0) + 1
            rounds.setdefault(turn, []).append(problem)
    for turn in sorted(rounds):
        yield from rounds[turn]


def _picture(found, problem, look):
    """Returns a picture of an image, or of the part around an annotation, as a data URI."""
    size = height, width = found.sizes[problem.image]
    box, region, (y, x) = np.zeros(4), np.zeros([0, 0], bool), (0, 0)
    if problem.annotation is not None:
        entry = found.content["annotations"][problem.annotation]
        box, region, (y, x) = _box_and_region(entry, size)
    window = np.array([0, 0, width, height])
    corners = [box[:2], box[2:]] if box[2] > box[0] and box[3] > box[1] else []
    if region.size:
        corners += [[x, y], [x + region.shape[1], y + region.shape[0]]]
    if corners:
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        margin = 8 + (high - low).max() / 2
        window = np.concatenate([np.floor(low - margin), np.ceil(high + margin)])
        window = np.clip(window, 0, [width, height] * 2).astype(int)
    left, top, right, bottom = window.tolist()
    scale = PICTURE_SIDE / max(right - left, bottom - top)
    sides = [max(1, round(side * scale)) for side in (right - left, bottom - top)]
    path = os.path.join(found.images, found.file_names[problem.image])
    if found.in_tiles and found.load_image is None:
        with open_big_image(path, size, found.reading) as source:
            shown = source.read(top, left, bottom - top, right - left, size=(sides[1], sides[0]))
        shown = visualize.as_rgb(shown, **look)
    else:
        if found.load_image is None:
            pixels = read_sized(path, size, found.reading)
        else:
            pixels = found.load_image(problem.image)
        image = Image.fromarray(visualize.as_rgb(pixels, **look))
        shown = np.asarray(image.crop(window.tolist()).resize(sides, Image.Resampling.BOX))
    mask = np.zeros([bottom - top, right - left], bool)
    mask[y - top : y - top + region.shape[0], x - left : x - left + region.shape[1]] = region
    tint = Image.fromarray(mask).resize(sides, Image.Resampling.NEAREST)
    drawn = {"boxes": [(box - [left, top, left, top]) * scale], "labels": [1], "masks": [tint]}
    canvas = visualize.draw(shown, drawn, scale=1, max_labels=0)
    file = io.BytesIO()
    Image.fromarray(canvas).quantize(128).save(file, "PNG")  # a third of the bytes
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _box_and_region(annotation, size):
    """Returns the box (4,), and the mask as in `rle.decode_region`; zeros if it has none."""
    height, width = size
    box, region = np.zeros(4), (np.zeros([0, 0], bool), (0, 0))
    with contextlib.suppress(DataError):
        box = np.array(coco_checks.read_box(annotation.get("bbox"), height, width, ""))
    with contextlib.suppress(DataError):
        outline = annotation.get("segmentation")
        counts, _ = coco_checks.read_segmentation(outline, height, width, "")
        if counts is not None:
            region = rle.decode_region(counts, height, width)
    return box, *region
