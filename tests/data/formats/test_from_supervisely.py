"""data/formats/from_supervisely.py, on a project in Supervisely's layout."""

import base64
import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import from_supervisely, supervisely

SQUARE = [[4, 5], [14, 5], [14, 11], [4, 11]]


def bitmap(mask, origin, mode="P"):
    """Encodes a mask as Supervisely does: a PNG with a palette, or with transparency."""
    image, file = Image.fromarray(np.asarray(mask, np.uint8)), io.BytesIO()
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 255, 255])
        image.save(file, "PNG", transparency=0, optimize=0)
    else:
        alpha = np.asarray(mask, np.uint8) * 255
        Image.fromarray(np.stack([alpha * 0 + 9] * 3 + [alpha], axis=-1)).save(file, "PNG")
    data = base64.b64encode(zlib.compress(file.getvalue())).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": data, "origin": origin}}


def polygon(exterior=SQUARE, interior=(), kind="polygon"):
    points = {"exterior": exterior, "interior": list(interior)}
    return {"geometryType": kind, "points": points}


@pytest.fixture
def project(images, tmp_path):
    """The folder of a project with one image."""
    folder = tmp_path / "project" / "ds0"
    (folder / "img").mkdir(parents=True)
    (folder / "ann").mkdir()
    (images / "a.png").rename(folder / "img" / "a.png")
    return tmp_path / "project"


def read(project, *objects, size=(20, 30), **options):
    objects = [{"id": 1, "classTitle": "cell", "tags": [], **one} for one in objects]
    entry = {"description": "", "tags": [], "size": {"height": size[0], "width": size[1]}}
    (project / "ds0/ann/a.png.json").write_text(json.dumps({**entry, "objects": objects}))
    return supervisely(project, project, **options)


def test_all_kinds_of_objects_are_read(project, masks_of, box):
    part = np.eye(3)
    dataset = read(
        project,
        polygon(),
        polygon([[4, 5], [14, 11]], kind="rectangle"),
        bitmap(np.ones((6, 10)), [4, 5]),
        polygon(interior=[[[6, 6], [9, 6], [9, 9], [6, 9]]]),
        bitmap(part, [20, 2]),
        bitmap(part, [20, 2], mode="RGBA"),
        {"geometryType": "line", "points": {"exterior": [[1, 2], [3, 4]], "interior": []}},
    )
    square, hole = box(4, 5, 14, 11), box(4, 5, 14, 11)
    hole[6:9, 6:9] = 0
    small = np.zeros((20, 30), np.uint8)
    small[2:5, 20:23] = part
    expected = [square, square, square, hole, small, small]
    np.testing.assert_array_equal(masks_of(dataset), expected)
    assert dataset.file_names == ("ds0/img/a.png",) and dataset.class_names == ("cell",)
    assert dataset.dropped == {from_supervisely.NO_AREA: 1} and dataset.orientation == "apply"


def test_bitmaps_end_at_the_image(project, masks_of, box):
    dataset = read(project, bitmap(np.ones((4, 4)), [-2, 18]))
    np.testing.assert_array_equal(masks_of(dataset), [box(0, 18, 2, 20)])


def data(packed):
    text = packed if isinstance(packed, str) else base64.b64encode(packed).decode()
    return {"geometryType": "bitmap", "bitmap": {"data": text, "origin": [0, 0]}}


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (data("x!"), "object 0: a bitmap must have an origin"),
        (data(b"12"), "PNG in zlib in base64 as data. Received: Error -3"),
        (data(zlib.compress(b"no png")), "a bitmap must have an origin"),
        (data(zlib.compress(bytes(2**27), 9)), "cut, or over 67108864 bytes"),
        ({"geometryType": "bitmap"}, "a bitmap must have an origin"),
        ({"geometryType": "polygon", "points": 3}, "points must have an exterior"),
        (polygon([[1, 2], ["x", 3], [4, 5]]), "0 must be a number. Received: 0='x'"),
        (polygon([[1, 2], 3]), "points must be a list of at least two .x, y."),
        ({**polygon(), "classTitle": None}, "object 0: classTitle is missing"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(project, one, line):
    with pytest.raises(DataError, match=f"a.png.json: {line}|a.png.json: .*{line}"):
        read(project, one)


def test_other_sizes_and_folders_are_refused(project, images):
    with pytest.raises(DataError, match="the json says width=31"):
        read(project, polygon(), size=(20, 31))
    with pytest.raises(DataError, match="no ann/.*.json belongs to an image in a folder img"):
        supervisely(images, images)
