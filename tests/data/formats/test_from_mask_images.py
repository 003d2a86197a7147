"""data/formats/from_mask_images.py: places of masks, and the meaning of their pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from keras_maskrcnn.data import DataError
from keras_maskrcnn.data.formats import mask_images
from keras_maskrcnn.data.formats.from_mask_images import NO_IMAGE, NO_MASK, NO_NUMBER


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
    assert dataset.examples == {NO_MASK: [str(images / "b.jpg")], NO_IMAGE: [str(masks / "c.png")]}


def test_a_label_divisor_below_one_is_refused(images):
    with pytest.raises(ValueError, match="Received: label_divisor=0."):
        mask_images(images, images, label_divisor=0)


def soft(mode="L"):
    """Two white disks on black with gray edges, (20, 30) or (20, 30, 3) uint8."""
    image = Image.new(mode, (120, 80))
    for box in ((8, 8, 50, 50), (60, 20, 110, 70)):
        ImageDraw.Draw(image).ellipse(box, fill="white")
    return np.asarray(image.resize((30, 20), Image.Resampling.BOX))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_soft_edges_are_named_or_cut_at_a_threshold(images, masks, masks_of, mode):
    save(masks / "a.png", soft(mode))
    with pytest.raises(DataError, match="a.png: .* values lie along edges only.* mask_threshold="):
        mask_images(images, masks)
    for threshold in (1, 128, 255):
        (mask,) = masks_of(mask_images(images, masks, mask_threshold=threshold))
        np.testing.assert_array_equal(mask, soft() >= threshold)


def test_a_threshold_cuts_the_files_of_single_instances_too(images, masks, masks_of):
    save(masks / "a" / "1.png", soft())
    (mask,) = masks_of(mask_images(images, masks))
    np.testing.assert_array_equal(mask, soft() > 0)
    (mask,) = masks_of(mask_images(images, masks, mask_threshold=128))
    np.testing.assert_array_equal(mask, soft() >= 128)


def test_small_and_thin_objects_are_no_soft_edges(images, masks):
    index = np.zeros((20, 30), np.uint8)
    index[:6, :6] = 1
    for i in range(8):  # dots, and fibers that cross one
        index[10:12, 3 * i : 3 * i + 2] = 2 + i
        index[13 + i % 7, 4:30] = 10 + i
    index[13:, 28] = 40
    save(masks / "a.png", index)
    assert mask_images(images, masks).num_instances.tolist() == [len(np.unique(index)) - 1]


@pytest.mark.parametrize(
    "options",
    [{"mask_threshold": 0}, {"mask_threshold": 256}, {"mask_threshold": 9, "label_divisor": 9}],
)
def test_a_threshold_out_of_range_is_refused(images, options):
    with pytest.raises(ValueError, match="mask_threshold must be from 1 to 255.* Received: mask_t"):
        mask_images(images, images, **options)


@pytest.mark.parametrize("name", ["a.PNG", "a_mask.Png", "a.tif", "a_mask.TIFF"])
def test_masks_may_have_other_suffixes(images, masks, masks_of, box, name):
    index = (box(0, 0, 5, 5) + 70_000 * box(20, 8, 30, 20).astype(np.int32)).astype(np.int32)
    if name.lower().endswith("png"):
        index = np.minimum(index, 60_000).astype(np.uint16)
    Image.fromarray(index).save(masks / name, "TIFF" if "t" in name.lower()[-4:] else "PNG")
    dataset = mask_images(images, masks)
    np.testing.assert_array_equal(masks_of(dataset), [box(0, 0, 5, 5), box(20, 8, 30, 20)])


def test_a_tiff_beside_a_png_is_its_image(images, box):
    Image.new("RGB", (30, 20)).save(images / "c.tif")
    save(images / "c.png", box(0, 0, 5, 5))
    (images / "a.png").unlink()
    dataset = mask_images(images, images)
    assert dataset.file_names == ("c.tif",)
    assert dataset.num_instances.tolist() == [1]


def test_masks_have_no_negative_numbers(images, masks, box):
    Image.fromarray(-box(0, 0, 5, 5).astype(np.int32)).save(masks / "a.tif")
    with pytest.raises(DataError, match="a.tif: a mask must have no number below 0. Received: -1."):
        mask_images(images, masks)


def test_tiffs_with_loss_or_fractions_are_no_masks(images, masks, box):
    Image.fromarray(box(0, 0, 5, 5)).save(masks / "a.tif", compression="jpeg")
    with pytest.raises(
        DataError, match="a.tif: a mask must be .* Received: format='TIFF with loss"
    ):
        mask_images(images, masks)
    Image.fromarray(box(0, 0, 5, 5).astype(np.float32)).save(masks / "a.tif")
    with pytest.raises(DataError, match="a.tif: a mask must have whole numbers. Received: floats"):
        mask_images(images, masks)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_ome_tiffs_are_images_and_label_images(tmp_path, masks_of, box, compression):
    tifffile = pytest.importorskip("tifffile")
    index = 7 * box(4, 5, 14, 11).astype(np.uint32) + 70_000 * box(20, 1, 25, 4).astype(np.uint32)
    for folder, pixels in (("images", box(4, 5, 14, 11)), ("masks", index)):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "a.ome.tif"
        tifffile.imwrite(path, pixels, ome=True, compression=compression)
    dataset = mask_images(tmp_path / "images", tmp_path / "masks")
    np.testing.assert_array_equal(masks_of(dataset), [box(4, 5, 14, 11), box(20, 1, 25, 4)])
