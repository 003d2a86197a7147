"""data/formats/yolo.py: rows, classes, and what has no mask."""

import numpy as np
import pytest

from keras_maskrcnn.data.formats import yolo_seg
from keras_maskrcnn.data.formats.yolo import BOX_ONLY, NO_IMAGE

# x 3..15 of 30, y 5..10 of 20
SQUARE = "0.1 0.25 0.5 0.25 0.5 0.5 0.1 0.5"


@pytest.fixture
def labels(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    return folder


def test_coordinates_are_shares_of_the_sides(images, labels, masks_of, box):
    (labels / "a.txt").write_text(f"1 {SQUARE}\n\n0 0 0 1 0 1 1 0 1\n")
    dataset = yolo_seg(images, labels)
    np.testing.assert_array_equal(masks_of(dataset), [box(3, 5, 15, 10), box(0, 0, 30, 20)])
    assert (dataset.category_ids, dataset.class_names) == ((0, 1), ("0", "1"))
    assert dataset.labels.tolist() == [2, 1]


def test_an_image_without_a_label_file_is_empty(images, labels):
    (labels / "b.txt").write_text(f"0 {SQUARE}")
    dataset = yolo_seg(images, labels)
    assert dataset.file_names == ("a.png", "b.jpg")
    assert dataset.num_instances.tolist() == [0, 1]
    assert dataset.dropped == {}


def test_rows_of_boxes_and_labels_without_an_image_are_counted(images, labels):
    (labels / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n0 {SQUARE}\n0 0.5 0.5 0.2 0.2")
    (labels / "c.txt").write_text("")
    dataset = yolo_seg(images, labels)
    assert dataset.num_instances.tolist() == [1, 0]
    assert dataset.dropped == {BOX_ONLY: 2, NO_IMAGE: 1}
    assert dataset.examples[BOX_ONLY] == [f"{labels / 'a.txt'}: line {i}" for i in (1, 3)]


def test_names_come_from_classes_txt_or_the_user(images, labels):
    (labels / "a.txt").write_text(f"1 {SQUARE}")
    (labels / "classes.txt").write_text("cat\ndog\n")
    dataset = yolo_seg(images, labels)
    assert (dataset.category_ids, dataset.class_names) == ((0, 1), ("cat", "dog"))
    assert dataset.labels.tolist() == [2]
    assert yolo_seg(images, labels, class_names=["x", "y", "z"]).class_names == ("x", "y", "z")


def test_folders_below_match(images, labels):
    (images / "train").mkdir()
    (images / "a.png").rename(images / "train" / "a.png")
    (labels / "train").mkdir()
    (labels / "train" / "a.txt").write_text(f"0 {SQUARE}")
    dataset = yolo_seg(images, labels)
    assert dict(zip(dataset.file_names, dataset.num_instances, strict=True)) == {
        "b.jpg": 0, "train/a.png": 1
    }  # fmt: skip
