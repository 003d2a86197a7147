"""The page of a report: its files, that names stay text, its size, and that nothing is replaced."""

import json
import pathlib
import re
import sys

import numpy as np
import pytest
from PIL import Image

from analysis.made_sets import made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis import reporting

sys.path.append(str(pathlib.Path(__file__).parents[1] / "viewer"))
import chromium

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"


def write(folder, num_images=6, **options):
    """Writes a report of a made set with names that try to be HTML; returns its numbers."""
    content, results = made(num_images=num_images, seed=5)
    content["categories"][0]["name"] = EVIL
    images = folder.parent / "images"
    images.mkdir(exist_ok=True)
    for i, image in enumerate(content["images"]):
        image["file_name"] = f"<b onclick=alert(3)>{i}&.png"
        noise = np.random.default_rng(i).integers(90, 160, [image["height"], image["width"], 3])
        Image.fromarray(noise.astype(np.uint8)).save(images / image["file_name"])
    metrics = {"bbox/AP": 0.25, "segm/AP": 0.5, "segm/APl": -1.0}
    return analysis.report(
        folder, results, content, images=images, title=EVIL, metrics=metrics, **options
    )


def page_data(text):
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


def test_the_files_of_a_report(tmp_path):
    numbers = write(tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == numbers
    names = {path.stem for path in (tmp_path / "report" / "plots").glob("*.svg")}
    assert names >= {"precision_recall", "f1", "calibration", "iou", "counts", "errors"}
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    data = page_data(text)
    assert [e["image"] for e in data["worst"]] == [e["image"] for e in numbers["worst"]]
    assert data["worst"][0]["picture"].startswith("data:image/jpeg;base64,")
    assert any(d.get("outline") for d in data["worst"][0]["detections"])
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', text) == []


def test_names_stay_text(tmp_path):
    write(tmp_path / "report")
    text = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert page_data(text)["classes"][0]["name"] == EVIL
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text and "<b onclick" not in text
    assert "innerHTML" not in text
    for path in (tmp_path / "report" / "plots").iterdir():
        assert "<script" not in path.read_text(encoding="utf-8")


def test_a_filled_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        analysis.report(tmp_path, None, None)
    with pytest.raises(NotADirectoryError, match="must be a folder"):
        analysis.report(tmp_path / "notes.txt", None, None, overwrite=True)
    reporting.refuse_filled(tmp_path, True)
    reporting.refuse_filled(tmp_path / "new", False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium on this machine")
def test_slider_and_filters_in_a_browser(tmp_path):
    numbers = write(tmp_path / "report", num_images=12)
    with chromium.Page(tmp_path / "profile") as page:
        ready = "document.documentElement?.dataset.ready"
        page.open((tmp_path / "report" / "report.html").as_uri(), until=ready)

        def move(name, value):
            page.ask(
                f"((input) => {{ input.value = {json.dumps(value)};"
                f" input.dispatchEvent(new Event('input')) }})(document.getElementById('{name}'))"
            )
            return int(page.ask("document.getElementById('shown').textContent").split()[0])

        detections = [d for entry in numbers["worst"] for d in entry["detections"]]
        assert move("score", "0") == len(detections)
        assert move("score", "0.5") == sum(d["score"] >= 0.5 for d in detections)
        move("score", "0")
        assert move("kind", "background") == sum(d["kind"] == "background" for d in detections)
        both = [d for d in detections if d["kind"] == "background" and d["class"] == 1]
        assert move("class", "1") == len(both)
        table = "document.querySelector('#confusion').innerText"
        page.ask(
            "((s) => { s.value = 0; s.dispatchEvent(new Event('input')) })"
            "(document.getElementById('confusion-score'))"
        )
        before = page.ask(table)
        page.ask(
            "((s) => { s.value = 18; s.dispatchEvent(new Event('input')) })"
            "(document.getElementById('confusion-score'))"
        )
        assert page.ask(table) != before
        assert page.problems == []
        assert {address.split(":")[0] for address in page.requests} <= {"file", "data"}
