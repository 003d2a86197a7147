"""data/augment: properties of every augmentation; boxes stay the extents of their masks."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf
from drawn_examples import (
    EMPTY,
    OTHER,
    SEED,
    SIDE,
    assert_equal,
    assert_extents,
    make_example,
)

from keras_maskrcnn.data import augment

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
    """Returns the augmentation as a graph for any image size and any number of instances."""
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
            atol=1 if key in ("image", "masks") else 1e-4,  # graphs may fuse roundings
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


def test_images_of_floats_stay_so_and_are_not_rounded(name):
    example = make_example(0)
    floats = {**example, "image": tf.cast(example["image"], tf.float32)}
    found, expected = (AUGMENTATIONS[name](e, SEED)["image"] for e in (floats, example))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, atol=1.01)
    assert np.array_equal(found, expected) == (name not in ("color", "jitter"))


def test_bands_beyond_the_third_move_with_the_others(name):
    def bands(example, *chosen):
        return {**example, "image": tf.gather(example["image"], chosen, axis=-1)}

    def of(example, *chosen):
        if name != "copy_paste":
            return AUGMENTATIONS[name](bands(example, *chosen), SEED)["image"]
        return augment.copy_paste(bands(example, *chosen), bands(OTHER, *chosen), SEED)["image"]

    example = make_example(0)
    five = of(example, 0, 1, 2, 0, 1)
    np.testing.assert_array_equal(five[..., :3], of(example, 0, 1, 2))
    if name != "color":
        np.testing.assert_array_equal(five[..., 3:], of(example, 0, 1))
        np.testing.assert_array_equal(five[..., 3:4], of(example, 0))


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
