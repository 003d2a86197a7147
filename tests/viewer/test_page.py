"""The page in a browser, opened from the disk as by a double click."""

import pathlib

import chromium
import numpy as np
import pytest
from pictures import NAMES, found, picture

from keras_maskrcnn import visualize
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer import write_viewer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium.PROGRAM is None, reason="there is no Chromium on this machine"),
]
READY = (
    "window.viewerState && document.readyState === 'complete'"
    " && viewer.world.getItemAt(0)?.getFullyLoaded()"
)
ORANGE, BLUE = (color.tolist() for color in visualize.PALETTE[:2])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A viewer of three objects."""
    folder = tmp_path_factory.mktemp("viewer") / "patient #7 & co"
    with open_source(picture()) as source:
        source.name, source.microns_per_pixel = "<i>slide&amp;.tif", 0.5
        source.crs, source.transform = "EPSG:32633", (2.0, 0.0, 500000.0, 0.0, -2.0, 5800000.0)
        write_viewer(folder, source, found())
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with one page."""
    with chromium.Page(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(folder, browser):
    """The page of three objects, shown anew."""
    browser.open((folder / "index.html").as_uri(), until=READY)
    yield browser
    assert browser.problems == []
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}


def text(page, selector):
    return page.ask(f"document.querySelector({selector!r}).innerText")


def place(page, x, y):
    """Where a pixel of the image is in the window: (x, y)."""
    script = "(({scale, x, y}) => [x + %s * scale + byId('view').offsetLeft, y + %s * scale])"
    return page.ask(script % (x, y) + "(transform())")


def has_color(page, x, y, color):
    """Whether the screen has a color, about, within two pixels of a pixel of the image."""
    column, row = (round(value) for value in place(page, x, y))
    around = page.screenshot()[row - 2 : row + 3, column - 2 : column + 3].astype(int)
    return bool((np.abs(around - color).max(-1) <= 60).any())


def settled(page):
    """Waits until nothing moves and all is drawn."""
    port = "viewer.viewport"
    page.wait(f"Math.abs({port}.getZoom(true) / {port}.getZoom() - 1) < 1e-6")
    page.wait(f"{port}.getCenter(true).distanceTo({port}.getCenter()) < 1e-6")


def move_slider(page, value):
    page.ask(f"byId('score').value = {value}; byId('score').dispatchEvent(new Event('input'))")


def test_objects_are_shown_and_names_are_text(page):
    assert page.ask("document.title") == text(page, "h1") == "<i>slide&amp;.tif"
    assert text(page, "#about") == "400 × 300 pixels, 0.5 µm per pixel"
    assert text(page, "#count") == "2\nof 3 objects"
    assert text(page, "#classes").split("\n") == ["cell", "1", NAMES[1], "1"]
    assert page.ask("document.querySelectorAll('main script, aside script, aside b b').length") == 0
    assert has_color(page, 80, 30, ORANGE) and has_color(page, 240, 100, BLUE)
    assert has_color(page, 240, 120, BLUE)  # around the hole
    assert has_color(page, 150, 20, [120] * 3) and not has_color(page, 25, 250, ORANGE)


def test_the_slider_shows_objects_above_a_score(page):
    move_slider(page, 0.2)
    assert text(page, "#count") == "3\nof 3 objects" and text(page, "#score-value") == "0.20"
    assert has_color(page, 25, 250, ORANGE)
    move_slider(page, 0.8)
    assert text(page, "#count") == "1\nof 3 objects"
    assert not has_color(page, 240, 100, BLUE)
    for _ in range(2):
        page.key("[")
    assert text(page, "#score-value") == "0.70" and text(page, "#count").startswith("2")


def test_a_class_is_hidden_and_shown(page):
    box = "document.querySelectorAll('#classes input')[1].getBoundingClientRect()"
    page.click(*page.ask(f"(({{x, y}}) => [x + 4, y + 4])({box})"))
    assert text(page, "#count") == "1\nof 3 objects" and not has_color(page, 240, 100, BLUE)
    page.ask("byId('none').click()")
    assert text(page, "#count") == "0\nof 3 objects" and not has_color(page, 80, 30, ORANGE)
    page.ask("byId('all').click()")
    assert text(page, "#count") == "2\nof 3 objects" and has_color(page, 240, 100, BLUE)


def test_a_click_tells_about_an_object(page):
    assert page.ask("byId('object').hidden")
    page.click(*place(page, 210, 110))
    page.wait("!byId('object').hidden")
    assert text(page, "#object dl").split("\n") == [
        *("Class", NAMES[1], "Score", "0.750", "Area", "4,800 px = 1,200 µm²"),
        *("Box", "x 200 to 280, y 100 to 180"),
        *("Center", "500480.00, 5799720.00 (EPSG:32633)", "Index", "1"),
    ]
    page.click(*place(page, 240, 140))  # its hole
    page.wait("byId('object').hidden")
    page.click(*place(page, 80, 50))
    page.wait("viewerState.selected === 0")
    page.key("Escape")
    page.wait("byId('object').hidden")


def test_keys_lead_through_the_objects_and_the_image(page):
    page.key("n")
    assert page.ask("viewerState.selected") == 0
    page.key("n")
    assert page.ask("viewerState.selected") == 1
    page.key("n")  # the third one has too low a score
    assert page.ask("viewerState.selected") == 0
    page.key("p")
    page.key("z")
    settled(page)
    left, top = place(page, 200, 100)
    right, bottom = place(page, 280, 180)
    assert right - left > 150 and left > 288 and top > 0 and right < 1280 and bottom < 800
    assert has_color(page, 240, 100, [255] * 3)  # the chosen one is white
    page.key("0")
    settled(page)
    assert place(page, 280, 180)[0] - place(page, 200, 100)[0] < right - left
    before = place(page, 0, 0)
    page.key("ArrowRight")
    settled(page)
    assert place(page, 0, 0)[0] < before[0] - 50
    page.key("o")
    page.wait("!byId('outlines').checked && viewerState.drawn === 0")
    page.key("m")
    assert page.ask("getComputedStyle(byId('panel')).display") == "none"


def test_the_pointer_tells_place_and_object(page):
    x, y = place(page, 80.5, 50.5)
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.wait("!byId('tip').hidden")
    assert text(page, "#tip") == "cell 0.90"
    assert text(page, "#position").startswith("x 80, y 50 · 500161.00, 5799899.00 (EPSG:32633)")
    assert text(page, "#bar").endswith("µm")


def test_light_and_dark(page):
    def paper():
        return page.ask("getComputedStyle(byId('panel')).backgroundColor")

    assert paper() == "rgb(255, 255, 255)"
    scheme = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.call("Emulation.setEmulatedMedia", features=scheme)
    assert paper() == "rgb(28, 32, 38)"
    page.key("t")
    assert paper() == "rgb(255, 255, 255)"
    page.call("Emulation.setEmulatedMedia", features=[])


def test_nothing_found_and_boxes_without_scores(browser, tmp_path):
    nothing = {"boxes": np.zeros((0, 4)), "labels": np.zeros(0, int), "class_names": NAMES}
    boxes = {"boxes": [(50, 30, 110, 70)], "labels": [1]}
    path = write_viewer(tmp_path / "nothing", picture(), nothing)
    browser.open(f"file://{path}", until=READY)
    assert text(browser, "#count") == "0\nof 0 objects"
    browser.key("n")
    path = write_viewer(tmp_path / "boxes", picture(), boxes)
    browser.open(f"file://{path}", until=f"location.pathname.includes('boxes') && {READY}")
    assert text(browser, "#count") == "1\nof 1 objects" and browser.ask("byId('scores').hidden")
    browser.click(*place(browser, 80, 50))
    browser.wait("!byId('object').hidden")
    assert "Area of box\n2,400 px" in text(browser, "#object dl")
    assert has_color(browser, 80, 30, [255] * 3)
    assert browser.problems == []


def test_fifty_thousand_objects_stay_usable(browser, tmp_path):
    y, x = np.mgrid[:200, :250].reshape(2, -1) * 10.0
    many = {
        "boxes": np.stack([x, y, x + 6, y + 6], axis=1),
        "labels": np.ones(50000, int),
        "scores": np.linspace(0, 1, 50000),
    }
    black = np.broadcast_to(np.zeros(3, np.uint8), (2000, 2500, 3))
    path = write_viewer(tmp_path / "viewer", black, many, score_threshold=0)
    browser.open(f"file://{path}", until=f"window.viewerState?.total === 50000 && {READY}")
    assert text(browser, "#count") == "50,000\nof 50,000 objects"
    browser.ask("viewer.viewport.zoomTo(20, null, true); viewer.forceRedraw(); 0")
    browser.wait("viewerState.drawn < 2000")  # only what is seen is drawn
    assert browser.ask("viewerState.drawn") > 0
    move_slider(browser, 0.5)
    assert text(browser, "#count") == "25,000\nof 50,000 objects"


def test_bands_of_16_bits_look_right(browser, tmp_path):
    """A square is bright in band 5 only, of a dark image of 12 bits."""
    image = np.random.default_rng(0).integers(90, 110, (300, 400, 5)).astype(np.uint16)
    image[30:70, 50:110, 4] = 900
    objects = {"boxes": np.zeros((0, 4)), "labels": []}
    for name, bands, dark in (("gray", (5,), [40] * 3), ("red", (5, 1, 2), [40, 128, 128])):
        with open_source(image, 5, "uint16") as source:
            page = write_viewer(tmp_path / name, source, objects, bands=bands, stretch=(5, 99))
        browser.open(pathlib.Path(page).as_uri(), until=READY)
        settled(browser)
        assert has_color(browser, 80, 50, [255] * 3 if name == "gray" else [255, 128, 128])
        assert has_color(browser, 300, 200, dark)
        assert browser.problems == []
