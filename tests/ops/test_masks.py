import pathlib

import numpy as np
import pytest

from keras_maskrcnn.ops import masks

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "paste.npz"


def paste_whole(mask, box, height, width):
    """Places the region that `paste` returns in a whole image."""
    region, (top, left) = masks.paste(mask, box, height, width)
    whole = np.zeros((height, width), np.float32)
    whole[top : top + region.shape[0], left : left + region.shape[1]] = region
    return whole


def disc(height, width, center, radius):
    y, x = np.mgrid[:height, :width] + 0.5
    return np.hypot(x - center[0], y - center[1]) <= radius


def test_paste_interpolates_between_cell_centers():
    # Cells of 2 pixels have centers at 1 and 3; pixels have theirs at 0.5, 1.5, 2.5, 3.5.
    region, origin = masks.paste(np.array([[0.0, 1.0], [0.0, 1.0]]), [0, 0, 4, 4], 4, 4)
    assert origin == (0, 0)
    # Beyond the outermost centers, values fall toward the zeros outside the mask.
    rows = np.array([0.75, 1.0, 1.0, 0.75])
    columns = np.array([0.0, 0.25, 0.75, 0.75])
    np.testing.assert_allclose(region, rows[:, None] * columns, atol=1e-6)


def test_paste_of_a_cell_per_pixel_copies_the_mask():
    mask = np.random.default_rng(0).random((3, 4)).astype(np.float32)
    whole = paste_whole(mask, [2, 1, 6, 4], 6, 8)
    np.testing.assert_allclose(whole[1:4, 2:6], mask, atol=1e-6)
    whole[1:4, 2:6] = 0
    assert not whole.any()


def test_constant_mask_fills_exactly_the_pixels_of_its_box():
    pasted = masks.paste_binary(np.ones((28, 28)), [3, 5, 17, 12], 20, 30)
    expected = np.zeros((20, 30), np.uint8)
    expected[5:12, 3:17] = 1
    np.testing.assert_array_equal(pasted, expected)
    assert pasted.dtype == np.uint8 and pasted.flags.f_contiguous


def test_paste_cuts_a_box_at_the_border():
    mask = np.random.default_rng(0).random((7, 7)).astype(np.float32)
    inside = paste_whole(mask, [5, 6, 16, 19], 30, 30)
    cut = paste_whole(mask, [-4, -2, 7, 11], 9, 5)
    np.testing.assert_allclose(cut, inside[8:17, 9:14], atol=1e-5)


@pytest.mark.parametrize(
    "box",
    [
        [30, 5, 40, 15],
        [-20, 5, -10, 15],
        [5, -30, 15, -20],
        [5, 40, 15, 50],
        [5, 5, 5, 15],
        [5, 9, 15, 9],
        [9, 5, 3, 15],
        [0, 0, 0, 0],
    ],
)
def test_a_box_outside_or_without_area_pastes_nothing(box):
    region, _ = masks.paste(np.ones((14, 14)), box, 20, 25)
    assert region.size == 0
    pasted = masks.paste_binary(np.ones((14, 14)), box, 20, 25)
    assert pasted.shape == (20, 25) and not pasted.any()


def test_a_box_smaller_than_a_pixel_pastes_at_most_that_pixel():
    pasted = masks.paste_binary(np.ones((28, 28)), [7.3, 4.3, 7.7, 4.7], 20, 20)
    assert pasted.sum() == 1 and pasted[4, 7]
    assert not masks.paste_binary(np.ones((28, 28)), [7.0, 4.0, 7.2, 4.2], 20, 20).any()


def test_paste_agrees_with_detectron2():
    golden = np.load(GOLDEN)
    height, width = (int(v) for v in golden["image_size"])
    for i, (mask, box) in enumerate(zip(golden["masks"], golden["boxes"], strict=True)):
        whole = paste_whole(mask, box, height, width)
        np.testing.assert_allclose(whole, golden["pasted"][i], atol=1e-5)
        binary = masks.paste_binary(mask, box, height, width)
        np.testing.assert_array_equal(binary, golden["pasted_bool"][i])


@pytest.mark.parametrize("rule", ["detectron2", "torchvision"])
def test_all_masks_of_an_image_are_pasted_each_into_its_box(rule):
    golden = np.load(GOLDEN)
    height, width = (int(v) for v in golden["image_size"])
    found = masks.paste_all(golden["masks"], golden["boxes"], height, width, rule)
    assert found.dtype == bool
    for pasted, mask, box in zip(found, golden["masks"], golden["boxes"], strict=True):
        expected = masks.paste_binary(mask, box, height, width, rule=rule)
        np.testing.assert_array_equal(pasted, expected)
    none = masks.paste_all(np.zeros((0, 28, 28)), np.zeros((0, 4)), height, width)
    assert none.shape == (0, height, width)


def test_torchvisions_paste_equals_torchvision():
    golden, expected = np.load(GOLDEN), np.load(GOLDEN.with_name("paste_torchvision.npz"))
    height, width = (int(v) for v in golden["image_size"])
    for mask, box, pasted in zip(golden["masks"], golden["boxes"], expected["pasted"], strict=True):
        region, (top, left) = masks.paste(mask, box, height, width, "torchvision")
        whole = np.zeros((height, width), np.float32)
        whole[top : top + region.shape[0], left : left + region.shape[1]] = region
        np.testing.assert_allclose(whole, pasted, atol=1e-5)


def test_crop_of_a_cell_per_pixel_copies_the_pixels():
    image = np.zeros((8, 9), np.uint8)
    image[2:5, 3:6] = [[1, 0, 1], [0, 1, 0], [1, 1, 0]]
    cropped = masks.crop(image, [3, 2, 6, 5], 3)
    np.testing.assert_array_equal(cropped, image[2:5, 3:6] * 255)
    assert cropped.dtype == np.uint8


def test_crop_averages_the_pixels_under_coarse_cells():
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::4] = 1  # thin lines: one column in four
    cropped = masks.crop(stripes, [0, 0, 32, 32], 4)
    np.testing.assert_allclose(cropped / 255, 0.25, atol=0.06)


def test_crop_of_a_full_mask_is_full_and_of_an_empty_one_empty():
    box = [2.3, 1.2, 17.9, 9.4]
    assert np.all(masks.crop(np.ones((12, 20), np.uint8), box, 28) == 255)
    assert np.all(masks.crop(np.zeros((12, 20), np.uint8), box, 28) == 0)


def test_crop_beyond_the_border_reads_the_border():
    assert np.all(masks.crop(np.ones((10, 10), np.uint8), [-5, -5, 15, 15], 14) == 255)


def test_crop_wholly_outside_is_empty():
    assert not masks.crop(np.ones((10, 10), np.uint8), [40, 40, 50, 50], 14).any()


@pytest.mark.parametrize("size", [28, 112])
def test_paste_inverts_crop_on_smooth_shapes(size):
    image = disc(90, 120, (60.3, 41.7), 30.2)
    box = [30.1, 11.5, 90.5, 71.9]
    cropped = masks.crop(image, box, size)
    again = masks.paste_binary(cropped / 255, box, 90, 120).astype(bool)
    union = (image | again).sum()
    assert (image & again).sum() / union > 0.97


def test_crop_inverts_paste_on_smooth_probabilities():
    y, x = np.mgrid[:28, :28] / 27 - 0.5
    mask = np.exp(-6 * (x**2 + y**2)).astype(np.float32)
    box = [10.2, 7.9, 130.7, 100.4]
    again = masks.crop(paste_whole(mask, box, 120, 150), box, 28) / 255
    # The outermost cells mix with the zeros around the box.
    np.testing.assert_allclose(again[1:-1, 1:-1], mask[1:-1, 1:-1], atol=0.02)
