import keras
import numpy as np
import pytest
from backbones.networks import residual

from keras_maskrcnn.backbones.normalizing import pixels_of
from keras_maskrcnn.backbones.tracing import trace

LAYERS = keras.layers
MEAN, VARIANCE = [123.675, 116.28, 103.53], [58.395**2, 57.12**2, 57.375**2]
CAFFE = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), (2, 1, 0))
RGB = (tuple(MEAN), (58.395, 57.12, 57.375), (0, 1, 2))
SIGNED = ((127.5,) * 3, (127.5,) * 3, (0, 1, 2))


def measured(first, preprocess=None, name="mine", channels=3):
    """(mean, std, order) of a network that begins with these layers, and how many are left out."""
    x = images = keras.Input((None, None, channels))
    for layer in first:
        x = layer(x)
    network = keras.Model(images, LAYERS.Conv2D(2, 3)(x), name=name)
    *numbers, last = pixels_of(trace(network, 32, channels), name, preprocess)
    return tuple(numbers), last


def adapted():
    layer = LAYERS.Normalization()
    layer.adapt(np.array([[[[100.0, 110, 120], [120, 150, 180]]]], np.float32))
    return layer


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([LAYERS.Rescaling(1 / 127.5, -1)], SIGNED),
        ([LAYERS.Normalization(mean=MEAN, variance=VARIANCE)], RGB),
        (
            [
                LAYERS.Rescaling(1 / 255),
                LAYERS.Normalization(
                    mean=np.divide(MEAN, 255), variance=np.divide(VARIANCE, 255**2)
                ),
            ],
            RGB,
        ),
        ([adapted()], ((110, 130, 150), (10, 20, 30), (0, 1, 2))),
        ([lambda x: x / 127.5, lambda x: x - 1.0], SIGNED),
        ([lambda x: x[..., ::-1], lambda x: x - np.array([103.939, 116.779, 123.68])], CAFFE),
    ],
    ids=["rescaling", "normalization", "both", "adapted", "operations", "bgr"],
)
def test_layers_at_the_beginning_are_measured_and_left_out(first, expected):
    found, last = measured(first)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    assert found[2] == expected[2] and last == len(first)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("resnet50", CAFFE), ("resnet101v2", SIGNED), ("vgg16", CAFFE)),
        *(("mobilenetv2_1.00_224", SIGNED), ("mobilenet_1.00_224", SIGNED)),
        *(("densenet121", RGB), ("NASNet", SIGNED), ("inception_v3", SIGNED)),
    ],
)
def test_networks_of_keras_applications_are_known_by_name(name, expected):
    assert measured([], name=name) == (expected, 0)


def test_a_given_function_comes_before_the_layers():
    both = measured([LAYERS.Rescaling(1 / 2)], lambda images: images / 4 - 1)
    assert both == (((4.0,) * 3, (8.0,) * 3, (0, 1, 2)), 1)
    five = measured([], lambda images: images - np.arange(5), channels=5)
    assert five == (((0.0, 1.0, 2.0, 3.0, 4.0), (1.0,) * 5, (0, 1, 2, 3, 4)), 0)


def test_layers_after_the_normalization_are_kept():
    relu = LAYERS.Activation("relu")  # changes no image in 0..255, but a normalized one
    assert measured([LAYERS.Rescaling(1 / 100, -1), relu])[1] == 1
    assert measured([LAYERS.Rescaling(1 / 100), LAYERS.ZeroPadding2D(3)])[1] == 1


def test_what_computes_in_16_bits_is_measured_in_32():
    layer = LAYERS.Rescaling(1 / 127.5, -1, dtype="mixed_bfloat16")
    assert measured([layer]) == (SIGNED, 1)


def test_an_unknown_normalization_is_refused():
    with pytest.raises(ValueError, match=r"preprocess must be the function.*'mine'"):
        measured([])
    assert measured([], lambda images: images)[0] == ((0.0,) * 3, (1.0,) * 3, (0, 1, 2))


@pytest.mark.parametrize(
    "preprocess",
    [np.sqrt, lambda x: x.mean(axis=-1, keepdims=True) * np.ones(3), lambda x: -x],
)
def test_what_is_no_factor_and_offset_per_channel_is_refused(preprocess):
    with pytest.raises(ValueError, match="one factor and one offset"):
        measured([], preprocess)


def test_the_network_is_left_as_it_was():
    network = residual()
    outputs = [layer.output for layer in network.layers]
    pixels_of(trace(network, 64), network.name, None)
    assert all(layer.output is x for layer, x in zip(network.layers, outputs, strict=True))


def test_bgr_of_preprocess_input_in_the_network_is_measured():
    found, last = measured([keras.applications.resnet.preprocess_input])
    np.testing.assert_allclose(found[0], CAFFE[0], rtol=1e-6)
    assert found[1:] == CAFFE[1:]
    assert last == 5  # three slices, a stack and a sum


def test_random_augmentations_at_the_beginning_are_left_out():
    flip, scale = LAYERS.RandomFlip(), LAYERS.Rescaling(1 / 127.5, -1)
    assert measured([flip, LAYERS.RandomRotation(0.5), scale], name="resnet50") == (SIGNED, 3)
    assert measured([flip], name="xception") == (SIGNED, 1)
    with pytest.raises(ValueError, match=r"preprocess must be the function.*'mine'"):
        measured([flip])


def test_a_longer_name_says_nothing_about_the_pixels():
    with pytest.raises(ValueError, match=r"preprocess must be the function.*'resnet50_of_mine'"):
        measured([], name="resnet50_of_mine")
