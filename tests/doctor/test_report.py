"""doctor/report.py: the text and the page."""

import json
import re

from doctor.faults import annotation, make, sound
from keras_maskrcnn import doctor


def test_a_long_table_is_cut_in_the_text_and_whole_on_the_page(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"] += [{"id": i, "name": f"class {i}"} for i in range(100, 150)]
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    shown, page = doctor.text(report), doctor.page(report, found)
    assert "... and 22 more" in shown and "class 149" not in shown
    assert "<td>class 149</td>" in page


def test_names_and_ids_are_escaped_and_printable(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["categories"][0]["name"] = "<script>alert(1)</script>\x1b[31m\n"
    content["annotations"][0].update(id="<b>\ud800", category_id="<i>")
    content["annotations"][2].update(bbox=[0, 0, 30, 20])
    content["images"][1].update(id='"><img src=x>')
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    page = doctor.page(report, found)
    page.encode("utf-8")
    for tag in ("<script>", "<b>\\", "<i>", "<img src=x>"):
        assert tag not in page
    assert "&lt;script&gt;" in page and "&lt;i&gt;" in page
    shown = doctor.text(report)
    shown.encode("utf-8")
    assert "\x1b" not in shown and "\\x1b" in shown


def test_the_page_shows_at_most_twelve_pictures_of_the_worst(tmp_path):
    folder, path = make(tmp_path)
    content = sound()
    content["annotations"] += [annotation(i, 10, bbox=[0, 0, 30, 20]) for i in range(20, 40)]
    content["annotations"] += [annotation(40, 10, bbox=[1, 2, 3])]
    path.write_text(json.dumps(content))
    found, report = doctor.examine(folder, path)
    page = doctor.page(report, found)
    figures = re.findall(
        '<img alt="" src="data:image/png;base64,[^"]+">.*?<b>(.*?)</b>', page, re.S
    )
    assert len(figures) == 12
    assert figures[0] == "broken bbox" and "box and mask disagree" in figures
    assert "src=" not in re.sub('src="data:', "", page)  # the page loads nothing from elsewhere
