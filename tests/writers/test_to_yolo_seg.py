import numpy as np
import pytest
import written_objects
import yaml
from PIL import Image
from pycocotools import mask as mask_api
from written_objects import CLASSES, SIZE, record

from keras_maskrcnn.data import yolo_seg
from keras_maskrcnn.writers import open_writer


def write(folder, *pairs, **options):
    with open_writer("yolo_seg", folder, **options) as writer:
        for name, found in pairs:
            writer.add(record(name), found)
    return folder / "yolo_seg"


def test_our_reader_reads_the_same_masks(tmp_path):
    found, empty = written_objects.found(), written_objects.found(())
    folder = write(tmp_path, ("sub/a.png", found), ("b.png", found), ("empty.png", empty))
    for name in ("sub/a.png", "b.png", "empty.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / name)
    assert (folder / "labels" / "empty.txt").read_text() == ""
    dataset = yolo_seg(tmp_path / "images", folder / "labels", class_names=folder / "data.yaml")
    assert not dataset.dropped and tuple(dataset.class_names) == CLASSES
    annotations = dataset.annotations["annotations"]
    assert len(annotations) == 2 * len(found["labels"])
    for i, mask in enumerate(np.asarray(found["masks"])):
        drawn = mask_api.frPyObjects(annotations[i]["segmentation"], *SIZE)
        np.testing.assert_array_equal(mask_api.decode(mask_api.merge(drawn)), mask)
        assert annotations[i]["category_id"] == found["labels"][i] - 1


def test_ultralytics_would_keep_every_row(tmp_path):
    """Follows `verify_image_label` of ultralytics/data/utils.py."""
    found = written_objects.found()
    folder = write(tmp_path, ("a.png", found))
    rows = [line.split() for line in (folder / "labels" / "a.txt").read_text().splitlines()]
    assert all(len(row) > 6 and len(row) % 2 for row in rows)
    segments = [np.array(row[1:], np.float32).reshape(-1, 2) for row in rows]
    boxes = np.array([[*s.min(0), *s.max(0)] for s in segments])
    assert boxes.min() >= 0 and boxes.max() <= 1
    names = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert names["names"] == dict(enumerate(CLASSES)) and names["nc"] == 2
    classes = np.array([row[0] for row in rows], np.float32)
    assert classes.max() < names["nc"]
    # Ultralytics drops rows with equal class and box.
    assert len(np.unique(np.column_stack([classes, boxes]), axis=0)) == len(rows)
    np.testing.assert_allclose(boxes * np.tile(SIZE[::-1], 2), found["boxes"], atol=1e-4)


def test_images_of_one_stem_are_refused(tmp_path):
    found = written_objects.found(("blob",))
    with pytest.raises(ValueError, match="same name without its suffix.*file_name='a.png'"):
        write(tmp_path, ("a.jpg", found), ("a.png", found))


def test_without_masks_there_are_boxes(tmp_path):
    found = {name: value for name, value in written_objects.found().items() if name != "masks"}
    folder = write(tmp_path, ("a.png", found))
    first = (folder / "labels" / "a.txt").read_text().split("\n")[0].split()
    assert list(map(float, first)) == pytest.approx([0, 17 / 120, 20 / 90, 26 / 120, 26 / 90])


@pytest.mark.parametrize(
    ("options", "names"), [({}, ["1", "2"]), ({"category_ids": [4, 9]}, ["4", "9"])]
)
def test_classes_without_names_have_numbers(tmp_path, options, names):
    found = written_objects.found(("blob", "pixel"))
    del found["class_names"]
    folder = write(tmp_path, ("a.png", found), **options)
    assert list(yaml.safe_load((folder / "data.yaml").read_text())["names"].values()) == names
    labels = (folder / "labels" / "a.txt").read_text().splitlines()
    assert [label.split()[0] for label in labels] == ["0", "1"]
