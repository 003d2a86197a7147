"""data/preparing.py: the laws of augmentation, resize, flip and proposals."""

import numpy as np
import pytest
import tensorflow as tf
from five_images import assert_equal, numpy, small, some_proposals

from keras_maskrcnn.data import preparing


def test_boxes_follow_each_axis_and_masks_stay(dataset):
    batched = small(dataset, 1, training=False, min_side=25, max_side=45)
    inputs, targets = numpy(batched)[3]  # 18 x 36 -> 23 x 45 (22.5 rounds up)
    np.testing.assert_array_equal(inputs["sizes"], [[23, 45]])
    example = dataset.load(3)
    scale = np.array([45 / 36, 23 / 18, 45 / 36, 23 / 18])
    np.testing.assert_allclose(targets["boxes"][0, :3], example["boxes"] * scale, rtol=1e-6)
    np.testing.assert_array_equal(targets["masks"][0, :3], example["masks"])


def test_one_of_several_sides_is_drawn_for_each_image(dataset):
    batched = small(dataset, 1, training=True, repeat=True, min_side=(16, 24)).take(40)
    assert {min(x["sizes"][0]) for x, _ in numpy(batched)} == {16, 20, 24}  # 20 x 40: max_side


def test_augmentations_come_before_the_resize_and_have_seeds_of_their_own(dataset):
    seen = []

    def double(example, seed):
        tf.numpy_function(lambda s: seen.append(tuple(s)), [seed], [])
        image = tf.repeat(example["image"], 2, axis=1)
        return {**example, "image": image, "boxes": example["boxes"] * [2.0, 1, 2, 1]}

    options = {"flip": False, "shuffle": False, "repeat": True, "min_side": 20, "max_side": 99}
    batched = small(dataset, 1, training=True, augment=[double, double], **options)
    inputs, targets = numpy(batched.take(2))[1]
    assert inputs["original_sizes"].tolist() == [[40, 96]]
    np.testing.assert_allclose(
        targets["boxes"][0, 0], dataset.load(1)["boxes"][0] * [2, 0.5, 2, 0.5]
    )
    assert len(set(seen)) == len(seen) >= 4


def test_training_flips_about_half_and_only_inside_the_valid_width(dataset):
    batched = small(dataset, 1, training=True, shuffle=False, repeat=True).take(100)
    straight = numpy(small(dataset, 1, training=False))
    flips = 0
    for step, (inputs, targets) in enumerate(numpy(batched)):
        expected, expected_targets = straight[step % 5]
        height, width = expected["sizes"][0]
        image, original = (x["images"][0, :height, :width] for x in (inputs, expected))
        flipped = not np.array_equal(image, original)
        flips += flipped
        np.testing.assert_array_equal(image, original[:, ::-1] if flipped else original)
        boxes, count = expected_targets["boxes"][0].copy(), step % 5
        if flipped:
            boxes[:count, [0, 2]] = width - boxes[:count, [2, 0]]
        np.testing.assert_allclose(targets["boxes"][0], boxes, rtol=1e-6)
        np.testing.assert_array_equal(targets["boxes"][0, count:], 0)
    assert 30 < flips < 70


def test_flips_differ_between_epochs(dataset):
    batched = small(dataset, 5, training=True, shuffle=False)
    epochs = [numpy(batched)[0][0]["images"] for _ in range(6)]
    assert any(not np.array_equal(epochs[0], images) for images in epochs[1:])


def test_in_training_the_kept_instances_are_random(dataset):
    batched = small(dataset, 5, training=True, flip=False, shuffle=False, max_instances=1)
    lefts = {numpy(batched)[0][1]["boxes"][4, 0, 0].item() for _ in range(12)}
    assert len(lefts) > 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("targets", [True, False])
def test_proposals_have_a_static_count_and_no_effect_on_the_rest(dataset, training, targets):
    options = {"training": training, "targets": targets}
    batched = small(dataset, **options, proposals=some_proposals(dataset), max_proposals=7)
    spec = (batched.element_spec[0] if targets else batched.element_spec)["proposals"]
    assert spec.shape.as_list() == [2 if training else None, 7, 4] and spec.dtype == tf.float32
    for found, expected in zip(numpy(batched), numpy(small(dataset, **options)), strict=True):
        del (found[0] if targets else found)["proposals"]
        assert_equal(found, expected)


def test_proposals_are_scaled_as_boxes_are(dataset):
    class Boxes:  # the annotated boxes as proposals
        get = staticmethod(lambda i: (dataset.load(i - 100)["boxes"], np.zeros(i - 100)))
        __contains__ = dataset.image_ids.__contains__

    options = {"min_side": 25, "max_side": 45, "proposals": Boxes(), "max_proposals": 8}
    for inputs, targets in numpy(small(dataset, 2, training=True, **options)):
        np.testing.assert_allclose(inputs["proposals"], targets["boxes"], rtol=1e-6)


def test_the_best_proposals_are_taken_in_order_and_the_rest_is_zero(dataset):
    proposals = some_proposals(dataset)
    options = {"training": False, "min_side": 16, "max_side": 64, "max_proposals": 4}
    inputs, _ = numpy(small(dataset, 1, proposals=proposals, **options))[2]  # 16 x 16: not resized
    boxes, _ = proposals[102]
    np.testing.assert_array_equal(inputs["proposals"][0], boxes[1:5])  # the first has no area
    inputs, _ = numpy(small(dataset, 1, proposals=proposals, **options))[0]
    assert inputs["proposals"][0, :2].any(axis=1).all()
    np.testing.assert_array_equal(inputs["proposals"][0, 2:], 0)


def test_proposals_are_clipped_to_the_image(dataset):
    outside = {i: (np.array([[-5.0, -6, 1e6, 1e6]]), np.zeros(1)) for i in dataset.image_ids}
    for training in (True, False):
        batched = small(dataset, 1, training=training, proposals=outside, max_proposals=3)
        for inputs, _ in numpy(batched):
            height, width = inputs["sizes"][0]
            np.testing.assert_array_equal(inputs["proposals"][0, 0], [0, 0, width, height])


def test_proposals_are_flipped_with_their_image(dataset):
    options = {"proposals": some_proposals(dataset), "max_proposals": 3, "targets": False}
    straight = numpy(small(dataset, 1, training=False, **options))
    batched = small(dataset, 1, training=True, shuffle=False, repeat=True, **options).take(20)
    for step, inputs in enumerate(numpy(batched)):
        expected = straight[step % 5]
        boxes, width = expected["proposals"].copy(), expected["sizes"][0, 1]
        if not np.array_equal(inputs["images"], expected["images"]):
            filled = boxes.any(axis=-1)
            boxes[filled] = boxes[filled][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [width, 0, width, 0]
        np.testing.assert_allclose(inputs["proposals"], boxes, rtol=1e-6)


def test_each_draw_has_the_seed_that_it_had_in_version_0_1():
    """A resumed run draws the same numbers, whatever version it began with."""
    seeds = {}

    def note(name, example, seed):
        seeds.setdefault(name, []).append(seed.numpy().tolist())
        return example

    prepare = preparing.Preparation(
        read=lambda index: {"image": tf.zeros([8, 8, 3]), "index": index},
        count=5,
        training=True,
        targets=False,
        sides=[8],
        max_side=8,
        resize_rule="detectron2",
        max_instances=None,
        max_proposals=None,
        augmentations=[lambda example, seed: note("augment", example, seed)],
        copy_paste=lambda example, _, seed: note("paste", example, seed),
        flip=False,
    ).prepare
    prepare(tf.constant(3, tf.int64), tf.constant([4, 2]))
    expected = tf.random.split([4, 2], 7)
    own, partner = (tf.random.fold_in(expected[i], 0).numpy().tolist() for i in (0, 2))
    assert seeds == {"augment": [own, partner], "paste": [expected[3].numpy().tolist()]}
    assert preparing.DRAWS[4:] == ("instances", "side", "flip")
