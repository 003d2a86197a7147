"""data/formats/from_yolo.py: rows, classes, and boxes without masks."""

import numpy as np
import pytest

from keras_maskrcnn.data.coco_checks import NO_AREA
from keras_maskrcnn.data.formats import yolo_seg
from keras_maskrcnn.data.formats.content import BOX_ONLY
from keras_maskrcnn.data.formats.from_yolo import NO_IMAGE

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


@pytest.mark.parametrize("masks", [False, None])
def test_rows_of_boxes_are_instances_without_masks(images, labels, masks):
    (labels / "a.txt").write_text("1 0.5 0.25 0.2 0.1\n0 0.95 0.5 0.2 1\n0 0.5 0.5 0 1")
    dataset = yolo_seg(images, labels, masks=masks)
    height, width = dataset.sizes[0]
    shares = np.array([[0.4, 0.2, 0.6, 0.3], [0.85, 0, 1, 1]])  # the second is cut at the border
    np.testing.assert_allclose(dataset.boxes, shares * [width, height, width, height], atol=1e-3)
    assert (dataset.labels.tolist(), dataset.has_masks) == ([2, 1], False)
    assert dataset.dropped == {NO_AREA: 1}
    assert "segmentation" not in dataset.annotations["annotations"][0]
    assert set(dataset.load(0)) == {"image", "boxes", "labels"}


def test_polygons_among_boxes_are_masks_or_boxes(images, labels):
    (labels / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n0 {SQUARE}")
    assert yolo_seg(images, labels, masks=False).num_instances.tolist() == [2, 0]
    dataset = yolo_seg(images, labels, masks=None)
    assert (dataset.num_instances.tolist(), dataset.has_masks) == ([1, 0], True)
    assert dataset.dropped == {BOX_ONLY: 1}


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
        "b.jpg": 0,
        "train/a.png": 1,
    }
