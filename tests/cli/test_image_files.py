"""Photos with an orientation tag, JPEG 2000 and AVIF in the commands that read image files."""

import json

import numpy as np
import pytest
from drawn_objects import Finder
from PIL import Image

from keras_maskrcnn import cli
from keras_maskrcnn.data import images, orientation

UPRIGHT = np.zeros((60, 90, 3), np.uint8)
UPRIGHT[10:26, 20:50] = 200  # the object
BOXES = {"apply": [20, 10, 30, 16], "ignore": [10, 40, 16, 30]}  # x, y, width, height


@pytest.fixture
def finder(monkeypatch):
    """Replaces the model of every --model by one that finds what was drawn."""
    model = Finder()
    monkeypatch.setattr("keras_maskrcnn.cli.inputs.load_model", lambda path: model)
    return model


@pytest.fixture
def photos(tmp_path):
    """A folder with one photo that is stored on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    side = Image.fromarray(orientation.upright(UPRIGHT, 8))
    side.save(tmp_path / "photos" / "a.png", exif=exif)
    return tmp_path / "photos"


@pytest.mark.parametrize("tiles", [(), ("--tile=64", "--overlap=32")])
@pytest.mark.parametrize("value", ["apply", "ignore"])
def test_predict_finds_objects_in_the_picture_as_it_was_read(photos, finder, caplog, value, tiles):
    output = photos.parent / "out"
    flags = [f"--output={output}", "--format=rle,labelme", "--quiet", *tiles]
    flags += [f"--orientation={value}"] if value == "apply" else []
    assert cli.run(["predict", "--model=m.keras", f"--input={photos}", *flags]) == 0
    (found,) = json.loads((output / "predictions.json").read_text())
    np.testing.assert_allclose(found["bbox"], BOXES[value], atol=1)
    size = [60, 90] if value == "apply" else [90, 60]
    assert found["segmentation"]["size"] == size
    outlines = json.loads((output / "labelme" / "a.json").read_text())
    assert [outlines["imageHeight"], outlines["imageWidth"]] == size
    with Image.open(output / "a.png") as picture:
        assert tiles or picture.height * size[1] == picture.width * size[0]  # tiles have a legend
    (line,) = [line for line in caplog.messages if "orientation tag" in line]
    assert ("turned upright" in line) == (value == "apply")


@pytest.mark.parametrize("suffix", ["jp2", "avif"])
def test_commands_read_jpeg_2000_and_avif(tmp_path, finder, capsys, suffix):
    if {"jp2": "JPEG2000", "avif": "AVIF"}[suffix] not in images.FORMATS:
        pytest.skip(f"this Pillow does not read .{suffix}")
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(UPRIGHT).save(folder / f"a.{suffix}", quality=100)
    points = [[20, 10], [50, 10], [50, 26], [20, 26]]
    entry = {"imagePath": f"a.{suffix}", "shapes": [{"label": "cell", "points": points}]}
    (folder / "a.json").write_text(json.dumps(entry))
    flags = [f"--images={folder}", f"--annotations={folder}", f"--output={tmp_path / 'a.json'}"]
    assert cli.run(["convert", "--format=labelme", *flags]) == 0
    flags = [f"--images={folder}", f"--annotations={tmp_path / 'a.json'}"]
    assert cli.run(["validate", *flags, f"--output={tmp_path / 'report'}"]) == 0
    assert "1 images, 1 annotations, 1 categories; 0 errors" in capsys.readouterr().out
    flags = [f"--input={folder}", f"--output={tmp_path / 'out'}", "--quiet"]
    assert cli.run(["predict", "--model=m.keras", *flags]) == 0
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert (tmp_path / "out" / "a.png").is_file()
