"""Compares sizes with values by hand and detectron2's rule, and pixels with Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_maskrcnn.ops import images as image_ops


def ramp(height, width):
    noise = np.random.default_rng(0).integers(0, 256, [height, width, 3])
    return noise.astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (800, 1067)),  # 640 * 800 / 480 = 1066.67
        ((640, 480), (1067, 800)),
        ((400, 800), (667, 1333)),  # longer side limited: 400 * 1333 / 800 = 666.5, rounded up
        ((1600, 1600), (800, 800)),
        ((1, 5000), (1, 1333)),  # 0.27 pixels become one
    ],
)
def test_the_shorter_side_is_800_unless_the_longer_exceeds_1333(size, expected):
    assert tuple(int(side) for side in image_ops.resized_size(*size, 800, 1333)) == expected


def test_torchvision_resizes_without_antialiasing_and_rounds_sizes_down(golden):
    data = golden("transform_torchvision")
    for size, expected in zip(data["shapes_in"], data["shapes_out_800_1333"], strict=True):
        resized = image_ops.resized_size(*size, 800, 1333, "torchvision")
        assert [int(side) for side in resized] == expected.tolist()
    mean, std = np.array([0.485, 0.456, 0.406]) * 255, np.array([0.229, 0.224, 0.225]) * 255
    for i in (0, 1):  # one image grows, the other shrinks
        resized = image_ops.resize(data[f"image.{i}"], 64, 100, "torchvision")
        height, width = data["image_sizes"][i]
        assert resized.shape == (height, width, 3)
        expected = data["batch"][i, :, :height, :width].transpose(1, 2, 0)
        np.testing.assert_allclose((resized - mean) / std, expected, atol=1e-4)


def test_resized_size_of_many_sizes_is_detectron2s():
    heights, widths = np.random.default_rng(0).integers(1, 2000, [2, 5000])
    actual = np.stack(image_ops.resized_size(heights, widths, 800, 1333), axis=-1)
    expected = []
    for height, width in zip(heights.tolist(), widths.tolist(), strict=True):
        scale = min(800 / min(height, width), 1333 / max(height, width))
        expected.append([max(1, int(scale * side + 0.5)) for side in (height, width)])
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("min_side", "max_side"), [(20, 1000), (95, 1000), (500, 50)])
def test_resize_is_pillows(min_side, max_side):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    resized = image_ops.resize(image, min_side, max_side)
    height, width = resized.shape[:2]
    expected = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resized, expected)


def test_resize_gives_whole_grey_levels_in_float32():
    resized = image_ops.resize(ramp(13, 17), 20, 100)
    assert resized.dtype == tf.float32
    np.testing.assert_array_equal(resized, np.rint(resized))
    assert np.min(resized) >= 0 and np.max(resized) <= 255


@pytest.mark.parametrize(("min_side", "max_side"), [(20, 1000), (95, 1000)])
def test_pixels_that_are_no_whole_numbers_are_resized_as_pillow_resizes_floats(min_side, max_side):
    image = np.random.default_rng(0).uniform(-3, 255, (40, 60, 2)).astype(np.float32)
    resized = image_ops.resize(image, min_side, max_side, whole=False)
    assert resized.dtype == tf.float32
    for band in range(2):
        pillow = Image.fromarray(image[..., band])
        expected = pillow.resize(resized.shape[1::-1], Image.Resampling.BILINEAR)
        np.testing.assert_allclose(resized[..., band], expected, atol=1e-4)


def test_pixels_are_scaled_to_255_and_those_of_8_bits_stay_as_they_are():
    image = ramp(3, 4)
    kept = image_ops.scale_pixels(image, 255.0)
    assert kept.dtype == tf.uint8
    np.testing.assert_array_equal(kept, image)
    scaled = image_ops.scale_pixels(np.array([0, 4095, 65535], np.uint16), 4095.0)
    assert scaled.dtype == tf.float32
    np.testing.assert_allclose(scaled, [0, 255, 255 * 65535 / 4095], rtol=1e-6)
    np.testing.assert_array_equal(image_ops.scale_pixels(np.float32([0.5]), 1.0), [127.5])


@pytest.mark.parametrize(
    ("dtype", "white", "expected"),
    [("uint8", 255, True), ("uint8", 100, False), ("uint16", 65535, False), ("float32", 1, False)],
)
def test_only_8_bits_that_are_not_scaled_stay_whole(dtype, white, expected):
    assert image_ops.are_whole(dtype, white) is expected


def test_resize_to_the_same_size_is_the_identity():
    image = ramp(13, 17)
    np.testing.assert_array_equal(image_ops.resize(image, 13, 17), image)


def test_resizing_a_batch_is_resizing_each_image():
    images = np.stack([ramp(12, 20), ramp(12, 20)[::-1]])
    batch = image_ops.resize(images, 7, 100)
    np.testing.assert_array_equal(batch, [image_ops.resize(image, 7, 100) for image in images])


def test_resize_works_in_a_graph_with_unknown_sides():
    function = tf.function(
        lambda image: image_ops.resize(image, 20, 30),
        input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)],
    )
    image = ramp(10, 40)
    np.testing.assert_array_equal(function(image), image_ops.resize(image, 20, 30))


def test_padding_is_zeros_right_and_bottom():
    padded = image_ops.pad_to_multiple(tf.ones([1, 3, 4, 2]), 4)
    assert padded.shape == (1, 4, 4, 2)
    np.testing.assert_array_equal(padded[:, :3], np.ones([1, 3, 4, 2]))
    np.testing.assert_array_equal(padded[:, 3:], np.zeros([1, 1, 4, 2]))


@pytest.mark.parametrize(("side", "expected"), [(31, 32), (32, 32), (33, 64)])
def test_padding_stops_at_the_next_multiple(side, expected):
    assert image_ops.pad_to_multiple(tf.zeros([side, 1, 3]), 32).shape == (expected, 32, 3)


def test_padding_keeps_static_sides_and_leaves_unknown_ones():
    @tf.function(input_signature=[tf.TensorSpec([2, None, 33, 3], tf.uint8)])
    def pad(images):
        padded = image_ops.pad_to_multiple(images, 32)
        assert padded.shape.as_list() == [2, None, 64, 3]
        return padded

    assert pad(np.zeros([2, 5, 33, 3], np.uint8)).shape == (2, 32, 64, 3)


def test_a_multiple_below_one_is_refused():
    with pytest.raises(ValueError, match="Received: multiple=0"):
        image_ops.pad_to_multiple(tf.zeros([1, 1, 3]), 0)
