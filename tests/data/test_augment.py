"""data/augment.py: a law for each transform; boxes stay the extents of their masks."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_maskrcnn.data import augment, coco_json
from keras_maskrcnn.ops import masks as mask_ops

NUCLEI = Path(__file__).resolve().parents[3] / "shared/data/nuclei"
SIDE = 28  # M
SEED = tf.constant([1, 2])


def make_example(seed, count=5, height=48, width=64):
    """Ellipses and rectangles that cover each other, boxes the extents of what is seen."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] + 0.5
    owner = np.full((height, width), -1)
    for i in range(count):
        center, radius = rng.uniform([6, 6], [width - 6, height - 6]), rng.uniform(5, 14, 2)
        u, v = (x - center[0]) / radius[0], (y - center[1]) / radius[1]
        owner[u**2 + v**2 < 1 if i % 2 else np.maximum(abs(u), abs(v)) < 1] = i
    found = [owner == i for i in range(count) if (owner == i).sum() > 20]
    extents = [(mask.any(axis=0).nonzero()[0], mask.any(axis=1).nonzero()[0]) for mask in found]
    boxes = np.array([[c[0], r[0], c[-1] + 1, r[-1] + 1] for c, r in extents], np.float32)
    masks = [mask_ops.crop(mask, box, SIDE) for mask, box in zip(found, boxes, strict=True)]
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    corners = np.sort(rng.integers(0, 2 * min(height, width), (6, 2, 2)) / 2, axis=1)
    return {
        "image": tf.constant(image),
        "boxes": tf.constant(boxes.reshape(-1, 4)),
        "labels": tf.range(1, len(found) + 1),
        "masks": tf.constant(np.reshape(masks, (-1, SIDE, SIDE)).astype(np.uint8)),
        "proposals": tf.constant(corners.reshape(6, 4), tf.float32),
    }


EMPTY, OTHER = make_example(0, count=0), make_example(9)


def full_size(example):
    """The masks as (n, H, W) bool."""
    height, width = example["image"].shape[:2]
    masks = [
        mask_ops.paste_binary(mask / 255, box, height, width).astype(bool)
        for mask, box in zip(example["masks"].numpy(), example["boxes"].numpy(), strict=True)
    ]
    return np.reshape(masks, (-1, height, width)).astype(bool)


def assert_equal(found, expected):
    tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def assert_extents(example):
    """Every mask reaches all four sides of its box, to a cell, and all boxes lie in the image."""
    height, width = example["image"].shape[:2]
    boxes, masks = example["boxes"].numpy(), example["masks"].numpy().astype(int)
    assert (boxes >= 0).all() and (boxes <= [width, height] * 2).all()
    for mask in masks:
        covered = 2 * mask >= mask.max()
        assert mask.max() > 0
        for lines in (covered.any(axis=0), covered.any(axis=1)):
            assert lines[:2].any() and lines[-2:].any()


def iou(left, right):
    return (left & right).sum() / (left | right).sum()


AUGMENTATIONS = {
    "flip": partial(augment.random_flip, vertical=0.5),
    "rotate90": augment.random_rotate90,
    "crop": partial(augment.random_crop, low=0.3),
    "jitter": partial(augment.large_scale_jitter, size=50),
    "color": partial(augment.color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "maybe": augment.maybe(0.5, augment.random_crop),
    "copy_paste": lambda example, seed: augment.copy_paste(example, OTHER, seed),
}


@pytest.fixture(scope="module", params=AUGMENTATIONS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def traced(name):
    """The augmentation as a graph for images of any size and any number of instances."""
    spec = {key: tf.TensorSpec([None, *v.shape[1:]], v.dtype) for key, v in OTHER.items()}
    spec["image"] = tf.TensorSpec([None, None, 3], tf.uint8)
    signature = [spec, tf.TensorSpec([2], tf.int32)]
    return tf.function(AUGMENTATIONS[name], input_signature=signature)


def test_a_graph_gives_what_eager_code_gives_and_keeps_dtypes_and_shapes(name, traced):
    example = make_example(3)
    found, expected = traced(example, SEED), AUGMENTATIONS[name](example, SEED)
    for key, value in traced.get_concrete_function().structured_outputs.items():
        static = value.shape[2:] if key == "image" else value.shape[1:]
        assert static == example[key].shape[2 if key == "image" else 1 :]
        assert value.dtype == example[key].dtype
        np.testing.assert_allclose(
            tf.cast(found[key], tf.float32),
            tf.cast(expected[key], tf.float32),
            atol=1 if key in ("image", "masks") else 1e-4,  # graphs may fuse what is then rounded
        )


def test_a_box_is_the_extent_of_its_mask_afterwards(traced):
    for i in range(12):
        example = traced(make_example(i), tf.constant([i, 7]))
        assert_extents(example)
        assert len(example["boxes"]) == len(example["labels"]) == len(example["masks"])


def test_the_same_seed_gives_the_same_example_and_others_give_others(traced):
    example = make_example(0)
    found = [traced(example, tf.constant([0, i % 6])) for i in range(12)]
    for first, again in zip(found[:6], found[6:], strict=True):
        assert_equal(first, again)
    assert len({(e["image"].numpy().tobytes(), e["boxes"].numpy().tobytes()) for e in found}) > 1


def test_an_example_without_instances_passes(name, traced):
    for i in range(4):
        found = traced(EMPTY, tf.constant([0, i]))
        assert found["masks"].shape[1:] == [SIDE, SIDE]
        assert bool(len(found["boxes"])) == (name == "copy_paste")


def test_an_image_without_annotations_passes(name):
    if name != "copy_paste":
        found = AUGMENTATIONS[name]({"image": OTHER["image"]}, SEED)
        assert found.keys() == {"image"}


def test_images_of_floats_stay_so_and_keep_whole_numbers(name):
    example = make_example(0)
    floats = {**example, "image": tf.cast(example["image"], tf.float32)}
    found, expected = (AUGMENTATIONS[name](e, SEED)["image"] for e in (floats, example))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, expected)


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
    }
    found = augment.crop(example, tf.constant([10, 4, 20, 16]))
    np.testing.assert_array_equal(found["image"], example["image"][4:16, 10:20])
    np.testing.assert_array_equal(found["labels"], [1, 3])
    np.testing.assert_allclose(found["boxes"], [[2, 2, 8, 8], [6, 0, 10, 10]])
    np.testing.assert_array_equal(found["masks"][0], mask[0])
    np.testing.assert_array_equal(found["proposals"], [[0, 0, 5, 12], [0, 0, 0, 0]])


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
    # 28 cells for up to 28 pixels; a pixel in a hundred may change sides at the new grid.
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
    example["image"] = tf.constant(np.stack([x, y, y], axis=-1))  # a pixel's value is its place
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
    scaled = augment.scale_to_canvas(example, 128)  # 96 x 128: what scale 2 cuts its window from
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


def test_colors_without_strength_are_the_identity():
    example = make_example(0)
    assert_equal(augment.color_jitter(example, SEED), example)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_colors_change_the_image_alone(name):
    example = make_example(0)
    found = augment.color_jitter(example, SEED, **{name: 0.4})
    assert not np.array_equal(found.pop("image"), example.pop("image"))
    assert_equal(found, example)


def test_each_color_operation_keeps_what_it_should():
    flat = {"image": tf.constant([[[90, 90, 90], [30, 30, 30]]], tf.uint8)}  # grey, mean 60
    for i in range(5):
        seed = tf.constant([5, i])
        bright = augment.color_jitter(flat, seed, brightness=0.5)["image"].numpy().astype(int)
        np.testing.assert_allclose(bright[0, 0], 3 * bright[0, 1], atol=2)
        contrast = augment.color_jitter(flat, seed, contrast=0.5)["image"].numpy().astype(int)
        assert contrast.mean() == pytest.approx(60, abs=1)
        assert_equal(augment.color_jitter(flat, seed, saturation=0.5), flat)
        assert_equal(augment.color_jitter(flat, seed, hue=0.5), flat)
        one = {"image": tf.constant([[[200, 50, 50]]], tf.uint8)}
        turned = augment.color_jitter(one, seed, hue=0.5)["image"].numpy()[0, 0]
        assert (turned.min(), turned.max()) == (50, 200)  # the hue alone


def test_nothing_pasted_is_the_identity():
    example = make_example(0)
    assert_equal(augment.copy_paste(example, make_example(1), SEED, share=0.0), example)
    assert_equal(augment.paste(example, EMPTY), example)


def test_pasted_pixels_are_the_others_and_belong_to_nobody_else():
    for i in range(6):
        base, other = make_example(i), make_example(100 + i)
        found = augment.paste(base, other)
        count = len(other["labels"])
        np.testing.assert_array_equal(found["masks"][-count:], other["masks"])
        np.testing.assert_array_equal(found["boxes"][-count:], other["boxes"])
        pasted = full_size(other).any(axis=0)
        expected = np.where(pasted[..., None], other["image"], base["image"])
        np.testing.assert_array_equal(found["image"], expected)
        below = full_size(found)[:-count]
        assert not (below & pasted).any()
        kept = found["labels"].numpy()[:-count] - 1
        left = full_size(base)[kept] & ~pasted
        ious = [iou(a, b) for a, b in zip(below, left, strict=True)]
        assert min(ious) > 0.9 and np.mean(ious) > 0.98


def test_a_covered_instance_is_dropped_and_an_untouched_one_stays():
    ones = tf.fill([2, SIDE, SIDE], tf.constant(255, tf.uint8))
    base = make_example(0) | {
        "boxes": tf.constant([[10.0, 10, 20, 20], [40, 30, 50, 40]]),
        "masks": ones,
        "labels": tf.constant([1, 2]),
    }
    other = make_example(1) | {
        "boxes": tf.constant([[9.0, 9, 21, 21]]),
        "masks": ones[:1],
        "labels": tf.constant([3]),
    }
    found = augment.paste(base, other)
    np.testing.assert_array_equal(found["labels"], [2, 3])
    np.testing.assert_array_equal(found["boxes"], [[40, 30, 50, 40], [9, 9, 21, 21]])


@pytest.mark.parametrize(("min_visible", "labels"), [(0.25, [1, 3]), (0.35, [3])])
def test_the_rest_of_a_pasted_over_instance_gets_a_new_box(min_visible, labels):
    ones = tf.fill([1, SIDE, SIDE], tf.constant(255, tf.uint8))
    base = make_example(0) | {"boxes": tf.constant([[10.0, 10, 20, 20]]), "masks": ones}
    other = make_example(1) | {"boxes": tf.constant([[5.0, 5, 17, 25]]), "masks": ones}
    base, other = base | {"labels": tf.constant([1])}, other | {"labels": tf.constant([3])}
    found = augment.paste(base, other, min_visible)  # 3 of 10 columns are left
    np.testing.assert_array_equal(found["labels"], labels)
    if len(labels) == 2:
        np.testing.assert_allclose(found["boxes"][0], [17, 10, 20, 20], atol=10 / SIDE)


@pytest.mark.parametrize("size", [(30, 90), (70, 40)])
def test_an_example_of_another_size_is_pasted_at_the_upper_left(size):
    base, other = make_example(0), make_example(1, height=size[0], width=size[1])
    found = augment.paste(base, other, min_visible=0.0)
    height, width = min(48, size[0]), min(64, size[1])
    assert found["image"].shape == (48, 64, 3)
    cut = augment.crop(other, tf.constant([0, 0, width, height]), 0.0)
    pasted = full_size(cut).any(axis=0)
    np.testing.assert_array_equal(
        found["image"][:height, :width],
        np.where(pasted[..., None], cut["image"], base["image"][:height, :width]),
    )
    np.testing.assert_array_equal(found["boxes"][-len(cut["boxes"]) :], cut["boxes"])


def test_tighten_moves_a_box_to_its_mask():
    mask = np.zeros((2, SIDE, SIDE), np.uint8)
    mask[0, 7:14, 14:] = 255
    example = make_example(0) | {
        "boxes": tf.constant([[0.0, 0, 28, 28], [1, 1, 5, 5]]),
        "masks": tf.constant(mask),
        "labels": tf.constant([1, 2]),
    }
    found = augment.tighten(example)
    np.testing.assert_array_equal(found["labels"], [1])
    np.testing.assert_allclose(found["boxes"], [[14, 7, 28, 14]])
    assert_extents(found)
    assert_equal(augment.tighten(make_example(0)), make_example(0))


def test_at_most_takes_random_instances_in_order():
    example = make_example(0, count=9)
    found = [augment.at_most(example, 3, tf.constant([0, i]))["labels"].numpy() for i in range(9)]
    assert all(len(labels) == 3 and (np.diff(labels) > 0).all() for labels in found)
    assert len({labels.tobytes() for labels in found}) > 1
    assert_equal(augment.at_most(example, 99, SEED), example)


def test_random_sides_are_those_given():
    found = {int(augment.random_side(tf.constant([0, i]), (640, 672, 800))) for i in range(30)}
    assert found == {640, 672, 800}


def test_augmentations_are_applied_in_order_with_seeds_of_their_own():
    example = make_example(0)
    flips = [partial(augment.random_flip, horizontal=1.0), lambda e, _: augment.rotate90(e)]
    expected = augment.rotate90(augment.flip_horizontal(example))
    assert_equal(augment.apply(example, SEED, flips), expected)
    seeds = []
    augment.apply(example, SEED, [lambda e, seed: seeds.append(tuple(seed.numpy())) or e] * 3)
    assert len(set(seeds)) == 3


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (augment.random_crop, {"low": 0.0}, "0 < low <= high <= 1. Received: low=0.0, high=1.0"),
        (augment.large_scale_jitter, {"size": 9, "low": 3}, "Received: low=3, high=2.0"),
        (augment.color_jitter, {"brightness": -1}, "0 <= brightness <= 1. Received: brightness=-1"),
        (augment.color_jitter, {"hue": 0.6}, "0 <= hue <= 0.5. Received: hue=0.6"),
    ],
)
def test_numbers_out_of_range_are_refused(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(make_example(0), SEED, **options)


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
