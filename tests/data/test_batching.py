"""data/batching.py: names, dtypes, shapes, slots, padding and canvases of a batch."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from five_images import numpy, small

from keras_maskrcnn import data
from keras_maskrcnn.checks import plain_errors
from keras_maskrcnn.data import batching, coco_json, origin
from keras_maskrcnn.data.errors import DataError
from keras_maskrcnn.ops import images as image_ops


def test_a_training_batch_has_static_counts_and_the_agreed_dtypes(dataset):
    inputs, targets = small(dataset, training=True, max_instances=4).element_spec
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in inputs.items()}
    assert shapes == {
        "images": ([2, None, None, 3], tf.float32),
        "sizes": ([2, 2], tf.int32),
        "original_sizes": ([2, 2], tf.int32),
        "indices": ([2], tf.int32),
    }
    shapes = {name: (spec.shape.as_list(), spec.dtype) for name, spec in targets.items()}
    assert shapes == {
        "boxes": ([2, 4, 4], tf.float32),
        "labels": ([2, 4], tf.int32),
        "masks": ([2, 4, 14, 14], tf.uint8),
    }


def test_slots_are_those_that_the_fullest_image_needs_rounded_up(dataset):
    many = tf.zeros([1, 9, 4])
    for name, values in batching.pad_slots({"boxes": many, "labels": many[..., 0]}).items():
        assert values.shape[:2] == (1, 16), name
    batched = small(dataset, training=True)
    assert batched.element_spec[1]["boxes"].shape.as_list() == [2, None, 4]
    assert {y["labels"].shape for _, y in numpy(batched)} == {(2, 8)}


def test_images_are_resized_then_padded_with_zeros(dataset):
    ((inputs, _), *_) = numpy(small(dataset, training=False))
    np.testing.assert_array_equal(inputs["sizes"], [[24, 36], [40, 24]])
    assert inputs["images"].shape == (2, 64, 64, 3)
    for i in range(2):
        height, width = inputs["sizes"][i]
        expected = image_ops.resize(dataset.load_image(i), 24, 40)
        np.testing.assert_array_equal(inputs["images"][i, :height, :width], expected)
        assert not inputs["images"][i, height:].any() and not inputs["images"][i, :, width:].any()


def test_empty_slots_have_label_zero_and_zeros_elsewhere(dataset):
    for i, (_, targets) in enumerate(numpy(small(dataset, 1, training=False))):
        assert (targets["labels"][0, :i] > 0).all()
        for values in targets.values():
            assert not values[0, i:].any()


def test_a_batch_is_its_images_one_by_one(dataset):
    together, _ = numpy(small(dataset, 4, training=False))
    alone = numpy(small(dataset, 1, training=False))[:4]
    for name, values in together[1].items():
        np.testing.assert_array_equal(values, np.concatenate([y[name] for _, y in alone]))
    for i, (inputs, _) in enumerate(alone):
        height, width = inputs["sizes"][0]
        image = together[0]["images"][i, :height, :width]
        np.testing.assert_array_equal(image, inputs["images"][0, :height, :width])


def test_canvases_fix_the_size_of_a_batch(dataset):
    canvases = [(64, 64), (48, 40)]
    batched = small(dataset, training=False, canvases=canvases)
    sizes = [x["images"].shape[1:3] for x, _ in numpy(batched)]
    # The images are 24 x 36, 40 x 24, 24 x 24, 20 x 40 and 24 x 24 when resized.
    assert sizes == [(48, 40)] * 3
    inputs, _ = small(dataset, training=True, canvases=[(64, 48)]).element_spec
    assert inputs["images"].shape.as_list() == [2, 64, 48, 3]


def test_an_image_too_large_for_every_canvas_is_named(dataset):
    with pytest.raises(DataError, match=r"1\.png: resized to \[40, 24\].*canvases=\[\[32, 40\]\]"):
        small(dataset, training=True, canvases=[(32, 40)])
    with pytest.raises(tf.errors.OpError) as caught:
        numpy(small(dataset, training=False, canvases=[(32, 40)]))
    line = "the images of a batch: resized to [40, 36] (height, width), which fits on no canvas."
    assert origin.data_error(caught.value) == f"{line} Received: canvases=[[32, 40]]."
    with pytest.raises(DataError, match="^the images of a batch"), plain_errors():
        numpy(small(dataset, training=False, canvases=[(32, 40)]))


def test_ignored_regions_move_with_their_image_and_have_their_own_slots(dataset):
    regions = [np.full((9 * (i == 3), 4), [2.0, 4, 6, 8], np.float32) for i in range(len(dataset))]
    ignoring = dataclasses.replace(dataset, ignored=tuple(regions))
    options = dict(training=True, max_instances=2, shuffle=False)
    for plain, (inputs, found) in zip(
        small(dataset, flip=False, **options), small(ignoring, flip=False, **options), strict=True
    ):
        assert set(found) == set(plain[1]) | {"ignored"}
        for name, value in plain[1].items():
            np.testing.assert_array_equal(found[name], value)
        assert found["ignored"].shape[1] in (8, 16)
        scale = inputs["sizes"] / inputs["original_sizes"]
        for i, index in enumerate(inputs["indices"]):
            expected = np.zeros_like(found["ignored"][i])
            height, width = scale[i]
            expected[: len(regions[index])] = [2 * width, 4 * height, 6 * width, 8 * height]
            np.testing.assert_allclose(found["ignored"][i], expected, rtol=1e-6)


def test_a_data_set_without_masks_gives_boxes_alone(dataset):
    plain = coco_json(dataset.images, dataset.annotations, mask_size=14, masks=False)
    options = dict(training=True, max_instances=4, shuffle=False, flip=False)
    (_, boxes), (_, both) = (next(iter(small(d, **options))) for d in (plain, dataset))
    assert set(boxes) == {"boxes", "labels"}
    for name in boxes:
        np.testing.assert_array_equal(boxes[name], both[name])
    with pytest.raises(ValueError, match="copy_paste needs masks"):
        small(plain, training=True, copy_paste=data.augment.copy_paste)
