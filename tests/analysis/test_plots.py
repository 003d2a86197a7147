import xml.etree.ElementTree as ElementTree

from analysis.made_sets import made
from keras_maskrcnn import analysis
from keras_maskrcnn.analysis import plots


def test_plots_are_xml_whatever_the_names():
    content, results = made(num_images=4, seed=3)
    content["categories"][0]["name"] = "a<b>&\"'\x07"
    drawn = plots.draw_plots(analysis.report_numbers(results, content))
    titles = [e.text for e in ElementTree.fromstring(drawn["f1"]).iter() if e.tag[-5:] == "title"]
    assert "a<b>&\"'\ufffd" in titles and "all classes" in titles
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in drawn.values())


def test_plots_of_nothing():
    content, _ = made(num_images=2, seed=3)
    drawn = plots.draw_plots(analysis.report_numbers([], {**content, "annotations": []}))
    assert all(ElementTree.fromstring(svg).tag.endswith("svg") for svg in drawn.values())


def test_a_histogram_has_zero_in_its_middle():
    assert plots._histogram([-1, 0, 0, 1]) == ([1, 2, 1], [-1, 0, 1])
    counts, marks = plots._histogram([-100, 3, 100])
    assert sum(counts) == 3 and len(counts) <= 25 and marks[1] == 0
