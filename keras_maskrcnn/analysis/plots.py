"""Draws the plots of a report as SVG, for the page and as files."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

LINES = 80  # classes with a line of their own, those with most objects
_WIDTH, _HEIGHT = 360, 270
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 30, 12, 40
_BOLD = ' class="t"'
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#59636e}.t{font-weight:600;font-size:13px}"
    ".g{stroke:#8884;stroke-width:1}.l{fill:none;stroke:#59636e;stroke-width:1;opacity:.35}"
    ".a{fill:none;stroke:#2f81d6;stroke-width:2.5}.b{fill:#2f81d6;opacity:.75}"
    ".d{stroke:#8889;stroke-dasharray:4 4}"
    "@media(prefers-color-scheme:dark){text{fill:#9aa5b1}.l{stroke:#9aa5b1}}</style>"
)


def draw_plots(numbers: Mapping[str, Any]) -> dict[str, str]:
    """Draws all plots of a report.

    Args:
        numbers: dict from `report_numbers`.

    Returns:
        dict of name to SVG, which has its style and no script. Names of classes are escaped.
    """
    curves, classes = numbers["curves"], numbers["classes"]
    chosen = sorted(range(len(classes)), key=lambda k: -classes[k]["objects"])[:LINES]
    chosen = chosen if len(classes) > 1 else []

    def lines(x, name):
        single = [(classes[k]["name"], curves["classes"][k][name]) for k in chosen]
        return "".join(
            [_line(x, y, "l", label) for label, y in single]
            + [_line(x, curves["all"][name], "a", "all classes")]
        )

    bins = [b for b in numbers["calibration"]["bins"] if b["count"]]
    calibration = '<line class="d" x1="{}" y1="{}" x2="{}" y2="{}"/>'.format(
        *_point(0, 0), *_point(1, 1)
    )
    calibration += _line([b["score"] for b in bins], [b["correct"] for b in bins], "a", "")
    calibration += "".join(
        '<circle class="b" cx="{}" cy="{}" r="4"><title>{} detections</title></circle>'.format(
            *_point(b["score"], b["correct"]), b["count"]
        )
        for b in bins
    )
    scores, overlaps = curves["scores"], numbers["overlaps"]
    what = "masks" if numbers["options"]["iou_type"] == "segm" else "boxes"
    differences = [i["detections"] - i["objects"] for i in numbers["images"]]
    kinds = numbers["errors"]["dAP"]
    return {
        "precision_recall": _plot(
            "PR curve",
            "recall",
            "precision",
            lines(curves["recalls"], "precision_at_recall"),
        ),
        "f1": _plot("F1", "score at least", "F1", lines(scores, "f1")),
        "precision": _plot("Precision", "score at least", "precision", lines(scores, "precision")),
        "recall": _plot("Recall", "score at least", "recall", lines(scores, "recall")),
        "calibration": _plot("Calibration", "mean score", "correct share", calibration),
        "iou": _bars(
            f"IoU of {what}, by object", "best IoU", overlaps["counts"], [0, 0.25, 0.5, 0.75, 1]
        ),
        "counts": _bars("Counts", "detections less objects, by image", *_histogram(differences)),
        "errors": _named_bars(
            "Errors: dAP", {kind: kinds[kind] or 0 for kind in numbers["errors"]["counts"]}
        ),
    }


def _point(x, y):
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return round(_LEFT + x * width, 1), round(_TOP + (1 - y) * height, 1)


def _line(xs, ys, style, label):
    """Returns a path that has gaps where y is None."""
    steps, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            pen = "M"
            continue
        steps.append("{}{} {}".format(pen, *_point(x, y)))
        pen = "L"
    path = f'<path class="{style}" d="{"".join(steps)}">'
    return f"{path}<title>{_escape(label)}</title></path>" if steps else ""


def _text(x, y, text, anchor="middle", more=""):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{_escape(text)}</text>'


def _escape(text):
    """Escapes, and drops control characters, which XML forbids."""
    return html.escape("".join(c if c >= " " and c.isprintable() else "\ufffd" for c in text))


def _frame(title, x_name, body):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"{_STYLE}{_text(_LEFT, 17, title, 'start', _BOLD)}{body}"
        f"{_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name)}</svg>"
    )


def _height_lines(labels):
    """Returns lines across the plot at 0, a quarter, ... of its height, with their labels."""
    parts = []
    for i, label in enumerate(labels):
        (x1, y), (x2, _) = _point(0, i / (len(labels) - 1)), _point(1, 0)
        parts.append(f'<line class="g" x1="{x1}" y1="{y}" x2="{x2}" y2="{y}"/>')
        parts.append(_text(x1 - 6, y + 4, label, "end"))
    return "".join(parts)


def _plot(title, x_name, y_name, body):
    quarters = ("0", ".25", ".5", ".75", "1")
    below = _HEIGHT - _BOTTOM + 16
    marks = "".join(_text(_point(i / 4, 0)[0], below, text) for i, text in enumerate(quarters))
    heights = _height_lines(quarters)
    title = title if title.lower() == y_name.lower() else f"{title}: {y_name}"
    return _frame(title, x_name, heights + marks + body)


def _bars(title: str, x_name: str, counts: Sequence[int], marks: Sequence[Any]) -> str:
    most, width = max([*counts, 1]), 1 / max(len(counts), 1)
    body = _height_lines(["0", f"{most / 2:g}", str(most)])
    for i, count in enumerate(counts):
        (x1, y1), (x2, y2) = _point(i * width, count / most), _point((i + 1) * width, 0)
        size = f'width="{x2 - x1 - 1:.1f}" height="{y2 - y1:.1f}"'
        body += f'<rect class="b" x="{x1}" y="{y1}" {size}><title>{count}</title></rect>'
    for i, mark in enumerate(marks):
        x = _point(i / max(len(marks) - 1, 1), 0)[0]
        body += _text(x, _HEIGHT - _BOTTOM + 16, str(mark))
    return _frame(title, x_name, body)


def _histogram(values):
    """Returns counts in at most 25 bins around 0, and the marks below: the first, 0, the last."""
    reach = max([abs(v) for v in values] + [1])
    step = -(-(2 * reach + 1) // 25)
    half = -(-reach // step)
    counts = [0] * (2 * half + 1)
    for value in values:
        counts[half + round(value / step)] += 1
    return counts, [-half * step, 0, half * step]


def _named_bars(title, values):
    most, rows = max([*values.values(), 1e-9]), max(len(values), 1)
    step, left, right = (_HEIGHT - _TOP - 20) / rows, 100, _WIDTH - 60
    body = ""
    for i, (name, value) in enumerate(values.items()):
        y, width = _TOP + i * step, value / most * (right - left)
        body += _text(left - 8, round(y + step / 2 + 4, 1), name, "end")
        body += f'<rect class="b" x="{left}" y="{y + 3:.1f}" width="{width:.1f}" '
        body += f'height="{step - 6:.1f}"/>'
        body += _text(
            round(left + width + 6, 1), round(y + step / 2 + 4, 1), f"{value:.3f}", "start"
        )
    return _frame(title, "", body)
