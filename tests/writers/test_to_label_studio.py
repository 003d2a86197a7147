import json
import os
from xml.etree import ElementTree

import numpy as np
import pytest
import written_objects
from pycocotools import mask as mask_api
from written_objects import CLASSES, record

from keras_maskrcnn.writers import open_writer, to_label_studio
from keras_maskrcnn.writers.to_label_studio import brush_counts


def decode_brush(counts):
    """Decodes a brush as label-studio-converter's `decode_rle` does, bit by bit."""
    bits, place = "".join(f"{byte:08b}" for byte in counts), 0

    def read(count):
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    total, word, sizes = read(32), read(5) + 1, [read(4) + 1 for _ in range(4)]
    out = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        same = read(1)
        end = done + 1 + read(sizes[read(2)])
        assert same
        out[done:end] = read(word)
        done = end
    assert len(bits) - place < 8
    return out


def mask_of(region):
    value, width, height = region["value"], region["original_width"], region["original_height"]
    if region["type"] == "brushlabels":
        assert value["format"] == "rle"
        return decode_brush(value["rle"]).reshape(height, width, 4)[..., 3]
    points = np.array(value["points"]) * [width / 100, height / 100]
    drawn = mask_api.frPyObjects([points.round(4).ravel().tolist()], height, width)
    return mask_api.decode(mask_api.merge(drawn))


def write(folder, found, file_name="sub/a b.png", **options):
    with open_writer("label_studio", folder, class_names=CLASSES) as writer:
        writer.add(record(file_name, **options), found)
        writer.add(record("empty.png"), written_objects.found(()))
    return json.loads((folder / "label_studio.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("brushes", [True, False])
def test_regions_are_the_same_masks(tmp_path, monkeypatch, brushes):
    if not brushes:
        monkeypatch.setattr(to_label_studio, "MAX_BRUSH_PIXELS", 100)
    found = written_objects.found()
    task, empty = write(tmp_path, found)
    [prediction] = task["predictions"]
    regions = prediction["result"]
    np.testing.assert_array_equal([mask_of(r) > 0 for r in regions], np.asarray(found["masks"]))
    kinds = dict(zip(written_objects.REGIONS, (r["type"] for r in regions), strict=True))
    assert kinds["blob"] == "polygonlabels"
    assert kinds["hole"] == ("brushlabels" if brushes else "polygonlabels")
    assert [r["value"][r["type"]] for r in regions[:2]] == [[CLASSES[0]], [CLASSES[1]]]
    assert [r["score"] for r in regions] == pytest.approx(found["scores"].tolist(), abs=1e-6)
    assert len({r["id"] for r in regions}) == len(regions)
    assert empty["predictions"] == [{"model_version": "keras_maskrcnn", "result": []}]


def test_the_configuration_has_the_controls_of_the_regions(tmp_path):
    task, _ = write(tmp_path, written_objects.found())
    root = ElementTree.parse(tmp_path / "label_studio_config.xml").getroot()
    controls = {tag.get("name"): tag for tag in root if tag.tag != "Image"}
    for region in task["predictions"][0]["result"]:
        control = controls[region["from_name"]]
        assert control.tag.lower() == region["type"] and control.get("toName") == "image"
        labels = [label.get("value") for label in control]
        assert set(region["value"][region["type"]]) <= set(labels) == set(CLASSES)
    assert root.find("Image").get("value") == "$image"


def test_an_image_is_below_the_parent_of_its_folder(tmp_path):
    found = written_objects.found(("blob",))
    path = tmp_path / "photos" / "sub" / "a b.png"
    task, empty = write(tmp_path / "1", found, path=path)
    assert task["data"] == {"image": "/data/local-files/?d=photos/sub/a%20b.png"}
    assert empty["data"] == {"image": "/data/local-files/?d=empty.png"}


@pytest.mark.parametrize(
    ("size", "origin", "region"),
    [
        ((3, 5), (0, 0), np.ones((3, 5), bool)),
        ((3, 5), (2, 4), np.ones((1, 1), bool)),
        ((3, 5), (0, 0), np.ones((1, 1), bool)),
        ((400, 300), (100, 7), np.eye(200, dtype=bool)),
        ((400, 300), (0, 0), np.random.default_rng(0).random((400, 300)) < 0.5),
        ((512, 128), (0, 0), np.pad(np.ones((1, 1), bool), ((511, 0), (127, 0)))),
    ],
)
def test_brushes_are_exact(size, origin, region):
    mask = np.zeros(size, np.uint8)
    mask[origin[0] :, origin[1] :][: region.shape[0], : region.shape[1]] = region
    decoded = decode_brush(brush_counts(region, origin, *size)).reshape(*size, 4)
    np.testing.assert_array_equal(decoded, np.repeat(mask[..., None] * 255, 4, axis=2))


def test_without_masks_there_are_rectangles(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    task, _ = write(tmp_path, found)
    region = task["predictions"][0]["result"][0]
    value = {key: region["value"][key] for key in ("x", "y", "width", "height")}
    assert value == pytest.approx(
        {"x": 400 / 120, "y": 700 / 90, "width": 2600 / 120, "height": 2600 / 90}, abs=1e-5
    )
    assert region["type"] == "rectanglelabels" and region["from_name"] == "rectangle"


@pytest.mark.slow
def test_the_sdk_of_label_studio_decodes_brushes():
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    region = np.random.default_rng(0).random((40, 30)) < 0.5
    counts = brush_counts(region, (3, 5), 60, 50)
    mask = np.reshape(brush.decode_rle(counts), (60, 50, 4))[..., 3]
    np.testing.assert_array_equal(mask[3:43, 5:35] > 0, region)
    assert np.count_nonzero(mask) == region.sum()


def test_a_name_that_is_no_text_is_escaped(tmp_path):
    tasks = write(tmp_path, written_objects.found(()), os.fsdecode(b"a\xff.png"))
    assert tasks[0]["data"]["image"] == "/data/local-files/?d=a%FF.png"
