import hashlib
import html
import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from pictures import NAMES, found, picture
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.sources import open_source
from keras_maskrcnn.viewer import draw_overview, write_viewer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "keras_maskrcnn" / "viewer" / "page"


def about(folder):
    """What image.js tells the page."""
    text = (folder / "page" / "image.js").read_text()
    return json.loads(re.fullmatch(r"const IMAGE = (.*);\n", text, re.DOTALL)[1])


def test_a_viewer_is_a_folder_of_its_own(tmp_path):
    folder = tmp_path / "new" / "viewer"
    path = write_viewer(folder, picture(), found())
    assert path == str(folder / "index.html")
    assert sorted(os.listdir(folder)) == [
        "image.dzi",
        "image_files",
        "index.html",
        "objects",
        "page",
    ]
    assert sorted(os.listdir(folder / "page")) == [
        "image.js",
        "openseadragon.LICENSE.txt",
        "openseadragon.min.js",
        "viewer.css",
        "viewer.js",
    ]
    assert about(folder) == {
        "width": 400,
        "height": 300,
        "tile": 512,
        "levels": 9,
        "objects": 3,
        "scores": True,
        "lowest": 0.5,
        "micronsPerPixel": None,
        "crs": None,
        "transform": None,
        "classes": [
            {"name": "cell", "color": "#e69f00", "objects": 2},
            {"name": NAMES[1], "color": "#56b4e9", "objects": 1},
        ],
    }
    assert os.listdir(folder.parent) == ["viewer"]  # nothing unfinished


def test_the_page_tells_what_the_file_tells(tmp_path):
    with open_source(picture()) as source:
        source.name, source.crs, source.microns_per_pixel = "in/a.tif", "EPSG:32633", 0.25
        source.transform = (0.5, 0.0, 500000.0, 0.0, -0.5, 5800000.0)
        write_viewer(tmp_path / "viewer", source, found(), score_threshold=0.05)
    told = about(tmp_path / "viewer")
    assert told["crs"] == "EPSG:32633" and told["micronsPerPixel"] == 0.25
    assert told["transform"] == [0.5, 0, 500000, 0, -0.5, 5800000] and told["lowest"] == 0.05
    wkt = 'PROJCRS["WGS 84 / UTM zone 33N",BASEGEOGCRS["WGS 84",DATUM[]]]'
    with open_source(picture()) as source:
        source.crs, source.transform = wkt, told["transform"]
        write_viewer(tmp_path / "wkt", source, found())
    assert about(tmp_path / "wkt")["crs"] == "WGS 84 / UTM zone 33N"
    assert "<title>a.tif</title>" in (tmp_path / "viewer" / "index.html").read_text()


def test_names_stay_text(tmp_path):
    title = "</title><script>alert('title')</script> & $title"
    path = write_viewer(tmp_path / "viewer", picture(), found(), title=title)
    page = pathlib.Path(path).read_text(encoding="utf-8")
    assert page.count(html.escape(title)) == 2 and "<script>" not in page
    # The page sets names with textContent.
    source = (PAGE / "viewer.js").read_text(encoding="utf-8")
    assert "textContent" in source
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in source


def test_the_page_asks_nothing_of_a_network():
    for name in ("index.html", "viewer.css", "viewer.js"):
        text = (PAGE / name).read_text(encoding="utf-8")
        assert not re.search(r"https?:|fetch\(|XMLHttpRequest|@import|//cdn", text), name


def test_openseadragon_is_the_file_of_its_release_with_its_license():
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    script = (PAGE / "openseadragon.min.js").read_bytes()
    version = re.match(rb"//! openseadragon ([\d.]+)\n", script)[1].decode()
    assert f"**OpenSeadragon** {version} (BSD 3-Clause" in notices
    assert hashlib.sha256(script).hexdigest() in notices
    license_text = (PAGE / "openseadragon.LICENSE.txt").read_text()
    assert "Redistributions in binary form must reproduce" in license_text


def test_all_files_of_the_page_are_packed(metadata):
    assert "viewer/page/*" in metadata["options.package_data"]["keras_maskrcnn"].split()


def test_a_folder_that_exists_is_refused(tmp_path):
    (tmp_path / "viewer").mkdir()
    (tmp_path / "viewer" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="viewer exists; pass overwrite=True"):
        write_viewer(tmp_path / "viewer", picture(), found())
    with pytest.raises(FileExistsError, match="is no viewer"):
        write_viewer(tmp_path / "viewer", picture(), found(), overwrite=True)
    assert os.listdir(tmp_path / "viewer") == ["mine.txt"]


def test_a_viewer_is_overwritten_as_a_whole(tmp_path):
    write_viewer(tmp_path / "viewer", picture(900, 900), {"boxes": [], "labels": []})
    write_viewer(tmp_path / "viewer", picture(), found(), overwrite=True)
    assert len(about(tmp_path / "viewer")["classes"]) == 2
    assert not (tmp_path / "viewer" / "image_files" / "10").exists()  # of the larger image
    assert os.listdir(tmp_path) == ["viewer"]


def test_a_broken_image_leaves_the_old_viewer_or_is_gray(tmp_path):
    write_viewer(tmp_path / "viewer", picture(), found())
    before = about(tmp_path / "viewer")

    class Broken:
        shape, dtype = (3000, 3000, 3), np.dtype(np.uint8)

        def __getitem__(self, window):
            raise OSError("the disk is gone")

    nothing = {"boxes": [], "labels": []}
    with pytest.raises(DataError, match="the disk is gone"):
        write_viewer(tmp_path / "viewer", Broken(), nothing, overwrite=True)
    assert os.listdir(tmp_path) == ["viewer"] and about(tmp_path / "viewer") == before
    write_viewer(tmp_path / "gray", Broken(), nothing, on_error="skip")
    with Image.open(tmp_path / "gray" / "image_files" / "12" / "5_5.jpg") as tile:
        assert tile.getextrema() == ((128, 128),) * 3
    assert (
        draw_overview(Broken(), nothing, max_side=30, on_error="skip").tolist()
        == [[[128] * 3] * 30] * 30
    )


def test_a_killed_process_leaves_no_viewer(tmp_path):
    program = """
import os, signal, sys
import numpy as np
from keras_maskrcnn.viewer import write_viewer

class Deadly:
    shape, dtype = (3000, 3000, 3), np.dtype(np.uint8)
    def __getitem__(self, window):
        if window[0].start:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.zeros((2048, 2048, 3), np.uint8)[: window[0].stop, : 3000 - window[1].start]

write_viewer(sys.argv[1], Deadly(), {"boxes": [], "labels": []})
"""
    folder = tmp_path / "viewer"
    killed = subprocess.run([sys.executable, "-c", program, folder], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith("unfinished-")
    write_viewer(folder, picture(), found())
    assert len(about(folder)["classes"]) == 2


@pytest.mark.parametrize(
    ("option", "value"), [("quality", 0), ("score_threshold", 2), ("on_error", "no")]
)
def test_bad_options_are_named_before_any_work(tmp_path, option, value):
    with pytest.raises(ValueError, match=f"Received: {option}={value!r}"):
        write_viewer(tmp_path / "viewer", picture(), found(), **{option: value})
    assert os.listdir(tmp_path) == []


def test_neither_tensorflow_nor_keras_is_imported():
    program = (
        "import sys, keras_maskrcnn.viewer;"
        "print([name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert printed.stdout == "[]\n"


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    path = os.fsdecode(bytes(tmp_path) + b"/a\xff.png")
    Image.fromarray(picture()).save(path)
    page = write_viewer(tmp_path / "viewer", path, found())
    assert "<title>a\\udcff.png</title>" in pathlib.Path(page).read_text(encoding="utf-8")
