import sys

import numpy as np
import pytest
import rasterio
import tifffile
import written_objects
from PIL import Image
from written_objects import SIZE, WITHOUT_OVERLAP, record

from keras_maskrcnn.data import mask_images
from keras_maskrcnn.instance_masks import InstanceMasks
from keras_maskrcnn.writers import open_writer, to_png_labels


def write(folder, found, size=SIZE):
    with open_writer("png_labels", folder) as writer:
        writer.add(record("sub/a.jpg", size), found)
    [path] = (folder / "png_labels" / "sub").iterdir()
    return path


def test_the_value_is_the_number_of_the_object(tmp_path):
    found = written_objects.found(WITHOUT_OVERLAP)
    path = write(tmp_path, found)
    assert path.name == "a.png"
    with Image.open(path) as image:
        assert image.mode.startswith("I;16")
        labels = np.asarray(image)
    masks = [labels == i + 1 for i in range(len(WITHOUT_OVERLAP))]
    np.testing.assert_array_equal(masks, np.asarray(found["masks"]))


def test_our_reader_reads_it(tmp_path):
    found = written_objects.found(WITHOUT_OVERLAP)
    write(tmp_path / "out", found)
    (tmp_path / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / "sub" / "a.jpg")
    dataset = mask_images(tmp_path / "images", tmp_path / "out" / "png_labels")
    areas = [annotation["area"] for annotation in dataset.annotations["annotations"]]
    assert areas == found["masks"].areas().tolist()


def overlapping(scores):
    regions = [np.ones((30, 30), bool)] * 3
    masks = InstanceMasks(regions, [(10, 10), (20, 20), (30, 15)], SIZE)
    boxes = np.zeros((3, 4), np.float32)
    return {"boxes": boxes, "scores": np.array(scores), "labels": np.ones(3, int), "masks": masks}


@pytest.mark.parametrize(
    ("scores", "winner"), [([0.9, 0.8, 0.7], 1), ([0.7, 0.8, 0.9], 3), ([0.5, 0.5, 0.5], 1)]
)
def test_the_higher_score_wins_where_objects_overlap(tmp_path, monkeypatch, scores, winner):
    monkeypatch.setattr(to_png_labels, "_BAND", 7)  # objects cross several bands
    labels = np.asarray(Image.open(write(tmp_path, overlapping(scores))))
    assert labels[35, 35] == winner  # where all three lie
    masks, rank = np.asarray(overlapping(scores)["masks"]), np.argsort(scores, kind="stable")
    expected = np.zeros(SIZE, int)
    for i in rank if winner == 3 else [2, 1, 0]:
        expected[masks[i]] = i + 1
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("band", [16, 256])
def test_a_large_image_is_a_tiff(tmp_path, monkeypatch, band):
    monkeypatch.setattr(to_png_labels, "MAX_PNG_PIXELS", 100)
    monkeypatch.setattr(to_png_labels, "_BAND", band)
    found = written_objects.found(WITHOUT_OVERLAP)
    path = write(tmp_path, found)
    assert path.name == "a.tif"
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint16 and labels.shape == SIZE
    np.testing.assert_array_equal(labels > 0, np.asarray(found["masks"]).any(0))
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), labels)


def test_a_georeferenced_image_has_a_geotiff(tmp_path, monkeypatch):
    monkeypatch.setattr(to_png_labels, "_BAND", 16)
    found = written_objects.found(WITHOUT_OVERLAP)
    transform = (0.25, 0.0, 500_000.0, 0.0, -0.25, 4_600_000.0)
    with open_writer("png_labels", tmp_path) as writer:
        writer.add(record("a.jpg", crs="EPSG:32633", transform=transform), found)
    with rasterio.open(tmp_path / "png_labels" / "a.tif") as file:
        labels = file.read(1)
        assert (file.crs.to_epsg(), tuple(file.transform)[:6]) == (32633, transform)
    masks = [labels == i + 1 for i in range(len(WITHOUT_OVERLAP))]
    np.testing.assert_array_equal(masks, np.asarray(found["masks"]))


@pytest.mark.parametrize(("module", "extra"), [("tifffile", "formats"), ("rasterio", "geo")])
def test_a_missing_library_is_named(tmp_path, monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(to_png_labels, "MAX_PNG_PIXELS", 100)
    place = {"crs": "EPSG:32633", "transform": (1, 0, 0, 0, -1, 0)} if extra == "geo" else {}
    with (
        pytest.raises(ImportError, match=rf"a.jpg: .*pip install keras3-maskrcnn\[{extra}\]"),
        open_writer("png_labels", tmp_path) as writer,
    ):
        writer.add(record("a.jpg", **place), written_objects.found(()))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_more_than_65535_objects_need_32_bits(tmp_path):
    side = 257
    at = [(i // side, i % side) for i in range(side**2)]
    found = {
        "boxes": np.zeros((len(at), 4), np.float32),
        "scores": np.linspace(1, 0, len(at)),
        "labels": np.ones(len(at), int),
        "masks": InstanceMasks([np.ones((1, 1), bool)] * len(at), at, (side, side)),
    }
    labels = tifffile.imread(write(tmp_path, found, (side, side)))
    assert labels.dtype == np.uint32
    np.testing.assert_array_equal(labels.ravel(), np.arange(1, side**2 + 1))


def test_without_objects_all_is_background(tmp_path):
    found = written_objects.found(())
    assert not np.asarray(Image.open(write(tmp_path, found))).any()


def test_boxes_are_refused(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    with pytest.raises(ValueError, match="png_labels needs masks"):
        write(tmp_path, found)
