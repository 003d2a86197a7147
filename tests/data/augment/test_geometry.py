"""data/augment/geometry.py: one law per transform."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from drawn_examples import (
    SIDE,
    assert_equal,
    assert_extents,
    full_size,
    iou,
    make_example,
)

from keras_maskrcnn.data import augment, coco_json
from keras_maskrcnn.ops import masks as mask_ops

NUCLEI = Path(__file__).resolve().parents[4] / "shared/data/nuclei"


@pytest.mark.parametrize("flip", [augment.flip_horizontal, augment.flip_vertical])
def test_a_flip_is_its_own_inverse(flip):
    example = make_example(0)
    assert not np.array_equal(flip(example)["image"], example["image"])
    assert_equal(flip(flip(example)), example)


def test_four_quarters_are_the_identity_and_two_are_both_flips():
    example = make_example(0)
    turned = example
    for _ in range(4):
        turned = augment.rotate90(turned)
    assert_equal(turned, example)
    assert_equal(augment.rotate90(example, 4), example)
    flipped = augment.flip_vertical(augment.flip_horizontal(example))
    assert_equal(augment.rotate90(example, 2), flipped)
    assert_equal(augment.rotate90(augment.rotate90(example, 1), 3), example)


def test_a_quarter_turn_is_counterclockwise():
    example = make_example(0)
    found = augment.rotate90(example)
    np.testing.assert_array_equal(found["image"], np.rot90(example["image"]))
    boxes = np.array(example["boxes"])  # x -> 64 - x becomes y
    expected = np.stack([boxes[:, 1], 64 - boxes[:, 2], boxes[:, 3], 64 - boxes[:, 0]], axis=1)
    np.testing.assert_array_equal(found["boxes"], expected)


@pytest.mark.parametrize(
    ("transform", "on_pixels"),
    [
        (augment.flip_horizontal, lambda a: a[:, :, ::-1]),
        (augment.flip_vertical, lambda a: a[:, ::-1]),
        (augment.rotate90, lambda a: np.rot90(a, axes=(1, 2))),
        (partial(augment.rotate90, turns=3), lambda a: np.rot90(a, 3, axes=(1, 2))),
    ],
)
def test_flips_and_turns_commute_with_painting(transform, on_pixels):
    for i in range(4):
        example = make_example(i)
        found = transform(example)
        np.testing.assert_array_equal(full_size(found), on_pixels(full_size(example)))
        np.testing.assert_array_equal(found["image"], on_pixels(example["image"].numpy()[None])[0])


def test_probabilities_of_zero_and_one_are_certain():
    example = make_example(0)
    for i in range(4):
        seed = tf.constant([i, 0])
        assert_equal(augment.random_flip(example, seed, 0.0, 0.0), example)
        both = augment.flip_vertical(augment.flip_horizontal(example))
        assert_equal(augment.random_flip(example, seed, 1.0, 1.0), both)
        assert_equal(augment.maybe(0.0, augment.random_crop)(example, seed), example)


def test_all_four_turns_occur():
    example = {"image": make_example(0)["image"]}
    turns = {
        augment.random_rotate90(example, tf.constant([0, i]))["image"].numpy().tobytes()
        for i in range(24)
    }
    assert turns == {augment.rotate90(example, k)["image"].numpy().tobytes() for k in range(4)}


def test_a_crop_of_everything_is_the_identity():
    for i in range(4):
        example = make_example(i)
        assert_equal(augment.crop(example, tf.constant([0, 0, 64, 48])), example)


def test_a_crop_moves_what_is_inside_and_drops_what_is_not():
    mask = np.full((3, SIDE, SIDE), 255, np.uint8)
    example = {
        "image": tf.reshape(tf.range(20 * 30 * 3), [20, 30, 3]) % 256,
        "boxes": tf.constant([[12.0, 6, 18, 12], [0, 0, 9, 5], [16, 4, 26, 14]]),
        "labels": tf.constant([1, 2, 3]),
        "masks": tf.constant(mask),
        "proposals": tf.constant([[5.0, 0, 15, 30], [0, 0, 3, 3]]),
        "ignored": tf.constant([[0.0, 5, 30, 8]]),
    }
    found = augment.crop(example, tf.constant([10, 4, 20, 16]))
    np.testing.assert_array_equal(found["image"], example["image"][4:16, 10:20])
    np.testing.assert_array_equal(found["labels"], [1, 3])
    np.testing.assert_allclose(found["boxes"], [[2, 2, 8, 8], [6, 0, 10, 10]])
    np.testing.assert_array_equal(found["masks"][0], mask[0])
    np.testing.assert_array_equal(found["proposals"], [[0, 0, 5, 12], [0, 0, 0, 0]])
    np.testing.assert_array_equal(found["ignored"], [[0, 1, 10, 4]])


@pytest.mark.parametrize(("min_visible", "labels"), [(0.19, [1]), (0.21, [])])
def test_a_crop_drops_what_is_mostly_outside(min_visible, labels):
    example = make_example(0) | {
        "boxes": tf.constant([[0.0, 0, 20, 10]]),
        "labels": tf.constant([1]),
        "masks": tf.fill([1, SIDE, SIDE], tf.constant(255, tf.uint8)),
    }
    found = augment.crop(example, tf.constant([16, 0, 40, 40]), min_visible)  # 4 of 20 columns
    np.testing.assert_array_equal(found["labels"], labels)


def test_cropping_masks_is_cropping_their_pixels():
    found = []
    for i in range(10):
        example, window = make_example(i), [13, 9, 50, 40]
        cropped = augment.crop(example, tf.constant(window))
        whole = full_size(example)[:, 9:40, 13:50][cropped["labels"].numpy() - 1]
        found += [iou(a, b) for a, b in zip(full_size(cropped), whole, strict=True)]
    # 28 cells for up to 28 pixels; with the new grid, one pixel in a hundred may differ.
    assert len(found) > 30 and min(found) > 0.95 and np.mean(found) > 0.995


def test_a_line_thinner_than_a_cell_survives_a_crop():
    full = np.zeros((200, 200), np.uint8)
    full[np.arange(200), np.arange(200)] = 1
    example = {
        "image": tf.zeros([200, 200, 3], tf.uint8),
        "boxes": tf.constant([[0.0, 0, 200, 200]]),
        "labels": tf.constant([1]),
        "masks": mask_ops.crop(full, np.array([0, 0, 200, 200]), SIDE)[None],
    }
    assert example["masks"].max() < 128
    found = augment.crop(example, tf.constant([0, 0, 100, 100]))
    np.testing.assert_allclose(found["boxes"], [[0, 0, 100, 100]], atol=200 / SIDE)


def test_a_random_crop_keeps_the_center_of_an_instance():
    one = {k: v[:1] for k, v in make_example(0).items() if k != "image"}
    example = {**make_example(0), **one}
    x1, y1, x2, y2 = example["boxes"][0].numpy()
    y, x = np.mgrid[:48, :64].astype(np.uint8)
    example["image"] = tf.constant(np.stack([x, y, y], axis=-1))  # a pixel's value is its position
    for i in range(20):
        image = augment.random_crop(example, tf.constant([i, i]), 0.2, 0.6)["image"].numpy()
        assert image[0, 0, 0] <= (x1 + x2) / 2 <= image[-1, -1, 0] + 1
        assert image[0, 0, 1] <= (y1 + y2) / 2 <= image[-1, -1, 1] + 1
        assert 9 <= image.shape[0] <= 28 and 12 <= image.shape[1] <= 38


def test_scale_one_pads_and_changes_nothing_else():
    example = make_example(0)  # 48 x 64
    found = augment.scale_to_canvas(example, 64, fill=7)
    np.testing.assert_array_equal(found["image"][:48], example["image"])
    assert found["image"].shape == (64, 64, 3) and (found["image"][48:].numpy() == 7).all()
    for name in ("boxes", "labels", "masks", "proposals"):
        np.testing.assert_array_equal(found[name], example[name])


def test_a_smaller_scale_shrinks_and_a_larger_one_cuts_at_the_offset():
    example = make_example(0)
    found = augment.scale_to_canvas(example, 64, 0.5, fill=7)
    np.testing.assert_allclose(found["boxes"], example["boxes"] / 2)
    assert (found["image"][24:].numpy() == 7).all() and (found["image"][:, 32:].numpy() == 7).all()
    scaled = augment.scale_to_canvas(example, 128)  # 96 x 128: at scale 2, before the crop
    window = tf.constant([32, 16, 96, 80])
    found = augment.scale_to_canvas(example, 64, 2.0, tf.constant([0.5, 0.5]))
    assert_equal(found, augment.crop(scaled, window))


def test_jitter_draws_scales_in_its_range():
    example = {"image": make_example(0)["image"]}
    widths = []
    for i in range(12):
        found = augment.large_scale_jitter(example, tf.constant([0, i]), 64, 0.25, 1.0, fill=0)
        widths.append((found["image"].numpy().max(axis=(0, 2)) > 0).sum())
    assert 15 <= min(widths) < 25 and 50 < max(widths) <= 64


@pytest.mark.skipif(not NUCLEI.exists(), reason=f"no nuclei data at {NUCLEI}")
def test_cropped_nuclei_are_the_nuclei_in_the_crop():
    dataset = coco_json(
        NUCLEI / "val/images", NUCLEI / "annotations/val.json", check_images=False, mask_size=56
    )
    found = []
    for i in range(4):
        example = {name: tf.constant(value) for name, value in dataset.load(i).items()}
        example["labels"] = tf.range(len(example["labels"]))
        cropped = augment.crop(example, tf.constant([31, 57, 190, 201]))
        whole = full_size(example)[:, 57:201, 31:190][cropped["labels"]]
        found += [iou(a, b) for a, b in zip(full_size(cropped), whole, strict=True)]
        assert_extents(cropped)
    assert len(found) > 30 and np.mean(found) > 0.999


def test_boxes_without_masks_are_cut_with_the_image():
    boxes = tf.constant([[2.0, 2, 8, 8], [0, 0, 20, 10], [0, 0, 5, 40]])
    example = {"image": tf.zeros([40, 40, 3], tf.uint8), "boxes": boxes, "labels": [1, 2, 3]}
    cut = augment.crop(example, tf.constant([0, 0, 10, 10]), min_visible=0.3)
    # Half of the second is left, a quarter of the third.
    np.testing.assert_array_equal(cut["boxes"], [[2, 2, 8, 8], [0, 0, 10, 10]])
    np.testing.assert_array_equal(cut["labels"], [1, 2])
    turned = augment.rotate90(augment.scale_to_canvas(example, 20), 1)
    np.testing.assert_allclose(turned["boxes"][0], [1, 16, 4, 19])
    with pytest.raises(ValueError, match="a data set with masks"):
        augment.paste(example, example)
