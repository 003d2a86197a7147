"""data/formats/mask_images.py: where masks are, and what their pixels mean."""

import numpy as np
import pytest
from PIL import Image

from keras_maskrcnn.data.formats import mask_images
from keras_maskrcnn.data.formats.mask_images import NO_IMAGE, NO_MASK, NO_NUMBER


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    return folder


def save(path, index, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(index), mode)
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.save(path)


@pytest.mark.parametrize(
    ("name", "dtype", "mode"),
    [("a.png", np.uint8, "L"), ("a.png", np.uint8, "P"), ("a_mask.png", np.uint16, None)],
)
def test_every_value_of_an_index_mask_is_an_instance(
    images, masks, masks_of, box, name, dtype, mode
):
    left, right = box(0, 0, 5, 5), box(20, 8, 30, 20)
    high = 2 if dtype == np.uint8 else 40_000
    save(masks / name, left + high * right.astype(dtype), mode)
    save(masks / "b.png", np.zeros((20, 30), np.uint8))
    dataset = mask_images(images, masks)
    assert dataset.num_instances.tolist() == [2, 0]
    np.testing.assert_array_equal(masks_of(dataset), [left, right])
    np.testing.assert_array_equal(dataset.boxes, [[0, 0, 5, 5], [20, 8, 30, 20]])
    assert dataset.class_names == ("object",)


def test_every_color_is_an_instance(images, masks, masks_of, box):
    colors = np.zeros((20, 30, 3), np.uint8)
    colors[2:4, 2:4], colors[8:9, 8:9] = (0, 1, 0), (1, 0, 0)
    save(masks / "a.png", colors)
    dataset = mask_images(images, masks)
    np.testing.assert_array_equal(masks_of(dataset), [box(8, 8, 9, 9), box(2, 2, 4, 4)])


def test_a_folder_for_an_image_has_a_file_for_each_instance(images, masks, masks_of, box):
    save(masks / "a" / "1.png", 255 * box(0, 0, 5, 5))
    save(masks / "a" / "2.png", box(3, 3, 8, 8))  # they may overlap
    save(masks / "a" / "3.png", box(0, 0, 0, 0))
    dataset = mask_images(images, masks, class_names=["nucleus"])
    np.testing.assert_array_equal(masks_of(dataset), [box(0, 0, 5, 5), box(3, 3, 8, 8)])
    assert dataset.class_names == ("nucleus",)
    assert dataset.dropped == {"annotation without a mask pixel inside the image": 1, NO_MASK: 1}


def test_images_and_masks_in_sibling_folders_as_of_the_data_science_bowl(tmp_path, box):
    for name in ("x", "y"):
        save(tmp_path / name / "images" / f"{name}.png", np.zeros((20, 30, 3), np.uint8))
        save(tmp_path / name / "masks" / "1.png", box(0, 0, 5, 5))
        save(tmp_path / name / "masks" / "2.png", box(5, 5, 9, 9))
    dataset = mask_images(tmp_path, tmp_path)
    assert dataset.file_names == ("x/images/x.png", "y/images/y.png")
    assert dataset.num_instances.tolist() == [2, 2]
    assert dataset.dropped == {}


def test_masks_may_lie_beside_their_images(images, box):
    save(images / "a_mask.png", box(0, 0, 5, 5))
    save(images / "b.png", box(0, 0, 5, 5))  # of b.jpg
    dataset = mask_images(images, images)
    assert dataset.file_names == ("a.png", "b.jpg")
    assert dataset.num_instances.tolist() == [1, 1]


def test_values_may_hold_class_and_number(images, masks, box):
    index = np.zeros((20, 30), np.uint16)
    index[:5, :5], index[6:9, 6:9], index[10:15, 10:15], index[:5, 20:] = 7002, 7001, 31_000, 7
    save(masks / "a.png", index)
    dataset = mask_images(images, masks, label_divisor=1000)
    assert (dataset.category_ids, dataset.class_names) == ((7, 31), ("7", "31"))
    assert dataset.labels.tolist() == [1, 1, 2]
    assert dataset.dropped == {NO_NUMBER: 1, NO_MASK: 1}


def test_masks_without_an_image_are_counted(images, masks, box):
    save(masks / "a.png", box(0, 0, 5, 5))
    save(masks / "c.png", box(0, 0, 5, 5))
    dataset = mask_images(images, masks)
    assert dataset.dropped == {NO_MASK: 1, NO_IMAGE: 1}
    assert dataset.examples == {
        NO_MASK: [str(images / "b.jpg")], NO_IMAGE: [str(masks / "c.png")]
    }  # fmt: skip


def test_a_label_divisor_below_one_is_refused(images):
    with pytest.raises(ValueError, match="Received: label_divisor=0."):
        mask_images(images, images, label_divisor=0)
