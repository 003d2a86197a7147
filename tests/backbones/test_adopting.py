import functools

import keras
import numpy as np
import pytest
from backbones.networks import normalized, perturbed, photo, residual

from keras_maskrcnn import backbones
from keras_maskrcnn.backbones import from_keras
from keras_maskrcnn.layers.conv import BatchNorm
from keras_maskrcnn.layers.fit_to_stride import FitToStride
from keras_maskrcnn.layers.frozen_norm import FrozenBatchNorm

LAYERS = keras.layers


@pytest.fixture(scope="module")
def network():
    return residual()


def maps_of(network, images, names):
    """The outputs of layers of a network of Keras, for images in 0..255."""
    outputs = {name: network.get_layer(name).output for name in names}
    found = keras.Model(network.input, outputs)(images)
    return [found[name] for name in names]


def rates(backbone):
    return [x.rate for x in backbone.layers if type(x).__name__ == "StochasticDepth"]


def frozen(backbone):
    return [x.name for x in backbone.layers if x.weights and not x.trainable_weights]


def test_maps_are_those_of_the_network(network):
    backbone = from_keras(network)
    images = photo()
    expected = maps_of(network, images, ["add2", "add3", "add4", "add5"])
    found = backbone(normalized(backbone, images))
    assert list(found) == ["c2", "c3", "c4", "c5"] == list(backbone.maps)
    assert list(backbone.maps.values()) == ["add2", "add3", "add4", "add5"]
    for name, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(found[name], value, atol=1e-5)
    assert backbone.name == "small" and backbone.input.shape == (None, None, None, 3)
    assert not [x for x in backbone.layers if isinstance(x, FitToStride | LAYERS.Rescaling)]


def test_the_network_stays_as_it_was(network):
    before = [np.array(v) for v in network.weights]
    layer = network.get_layer("conv2")
    output = layer.output
    backbone = from_keras(network, frozen_stages=5)
    backbone.set_weights([np.zeros(v.shape) for v in backbone.weights])
    assert all((np.asarray(v) == old).all() for v, old in zip(network.weights, before, strict=True))
    assert layer.output is output and layer.trainable and network.get_layer("bn2").trainable


@pytest.mark.parametrize(
    ("norm", "kind"), [("frozen_batch", FrozenBatchNorm), ("batch", BatchNorm)]
)
def test_batch_norm_becomes_ours_with_its_settings(network, norm, kind):
    norms = [x for x in from_keras(network, norm=norm).layers if isinstance(x, BatchNorm)]
    assert len(norms) == 5 and {type(x) for x in norms} == {kind}
    assert [(x.momentum, x.epsilon) for x in norms[:2]] == [
        (0.9, 0.001),
        (0.8, 0.01),
    ]  # 0.99 is too slow
    assert all(x.trainable == (norm == "batch") for x in norms)


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_group_for_each_channel_becomes_a_depthwise_convolution(use_bias):
    """Keras runs grouped convolutions in XLA, and their gradients take seconds."""
    images = keras.Input((None, None, 3))
    x = LAYERS.Conv2D(6, 3, 4, padding="same")(images)
    options = {"padding": "same", "use_bias": use_bias, "name": "each", "activation": "relu"}
    x = LAYERS.Conv2D(6, 5, groups=6, kernel_regularizer="l2", **options)(x)
    network = perturbed(keras.Model(images, LAYERS.Conv2D(4, 3, groups=2, name="pairs")(x)))
    backbone = from_keras(network, preprocess=lambda x: x, maps=["each"])
    each = backbone.get_layer("each")
    assert type(each) is LAYERS.DepthwiseConv2D and each.use_bias == use_bias
    assert type(each.depthwise_regularizer).__name__ == "L2"
    (expected,) = maps_of(network, photo(), ["each"])
    np.testing.assert_allclose(backbone(photo())["c2"], expected, atol=1e-4, rtol=1e-5)


def test_batch_norm_without_scale_and_nested_networks_become_ours():
    """As in InceptionV3 and in ConvNeXt."""
    images = keras.Input((None, None, 3))
    inside = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            LAYERS.Conv2D(2, 4, 4, use_bias=False),
            LAYERS.BatchNormalization(scale=False),
        ],
        name="inside",
    )
    network = perturbed(keras.Model(images, inside(images)))
    backbone = from_keras(network, preprocess=lambda x: x, norm="batch")
    assert [type(x) for x in backbone.layers[1:]] == [LAYERS.Conv2D, BatchNorm]
    np.testing.assert_allclose(backbone(photo())["c2"], network(photo()), rtol=1e-5)
    assert backbone(photo(), training=True)["c2"].shape == (2, 16, 24, 2)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(0.0, [0, 0, 0, 0]), (0.5, [0.2, 0.3, 0.4, 0.5])],  # those of the network: 0.2, 0.3, 0.4, 0.5
)
def test_the_rate_of_stochastic_depth_rises(network, rate, expected):
    np.testing.assert_allclose(rates(from_keras(network, stochastic_depth=rate)), expected)


def test_layers_without_names_get_the_same_names_in_each_process():
    def make():
        images = keras.Input((None, None, 3))
        x = images + 0.0
        for filters in (2, 3):
            x = LAYERS.Conv2D(filters, 4, 2, padding="same")(x)
            x = LAYERS.BatchNormalization()(x)
        return from_keras(keras.Model(images, x + x), maps=None)

    first, second = make(), make()
    names = [v.path for v in first.weights]
    assert names == [v.path for v in second.weights]
    assert names[0] == "conv2d/kernel" and names[6] == "conv2d_1/kernel"
    assert "batch_normalization_1/gamma" in names


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (0, []),
        (1, ["stem_conv", "stem_bn"]),
        (2, ["stem_conv", "stem_bn", "conv2", "bn2"]),
    ],
)
def test_stages_are_frozen_by_stride(network, stages, expected):
    assert frozen(from_keras(network, norm="batch", frozen_stages=stages)) == expected


def test_all_stages_can_be_frozen_and_what_was_frozen_is_trained():
    network = residual()
    network.trainable = False
    assert not frozen(from_keras(network, norm="batch"))
    assert not from_keras(network, norm="batch", frozen_stages=5).trainable_weights


def test_an_image_whose_bands_repeat_gives_the_maps_of_the_rgb_image(network):
    rgb, five = from_keras(network), from_keras(network, channels=5)
    images = photo()
    repeated = images[..., [0, 1, 2, 0, 1]]
    assert five.input.shape[-1] == len(five.pixel_mean) == 5
    expected = rgb(normalized(rgb, images))
    for name, value in five(normalized(five, repeated)).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_gray_image_gives_the_maps_of_its_rgb_copy(network, channels):
    rgb, gray = from_keras(network), from_keras(network, channels=channels)
    images = photo(channels=1)
    expected = rgb(normalized(rgb, np.repeat(images, 3, axis=-1)))
    assert len(gray.pixel_mean) == channels
    for name, value in gray(normalized(gray, np.repeat(images, channels, axis=-1))).items():
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_bgr_is_made_up_for_in_the_first_kernel():
    network = residual(name="vgg16", preprocess=False)
    backbone = from_keras(network)
    images = photo()
    expected = maps_of(network, keras.applications.vgg16.preprocess_input(images.copy()), ["add2"])
    found = backbone(normalized(backbone, images))["c2"]
    np.testing.assert_allclose(found, expected[0], rtol=1e-5, atol=1e-4)
    five = from_keras(network, channels=5)
    repeated = five(normalized(five, images[..., [0, 1, 2, 0, 1]]))["c2"]
    np.testing.assert_allclose(repeated, found, rtol=1e-5, atol=1e-4)


def test_a_network_of_five_bands_keeps_them():
    network = residual(channels=5, preprocess=False)
    backbone = from_keras(network, preprocess=lambda x: x - 3, channels=5)
    assert (backbone.pixel_mean, backbone.pixel_std) == ((3.0,) * 5, (1.0,) * 5)
    images = photo(channels=5)
    expected = maps_of(network, images - 3, ["add2"])[0]
    np.testing.assert_allclose(backbone(images - 3)["c2"], expected, atol=1e-5)


def test_unpadded_convolutions_get_the_missing_cells():
    network = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            LAYERS.Conv2D(2, 3, 2),
            LAYERS.Conv2D(2, 3),
            LAYERS.Conv2D(2, 3, 2, name="last"),
        ]
    )
    backbone = from_keras(network, preprocess=lambda x: x)
    found, expected = backbone(photo())["c2"], network(photo())
    assert (found.shape[1:3], expected.shape[1:3]) == ((16, 24), (14, 22))
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected, rtol=1e-4, atol=1e-4)
    assert backbone(photo()[:, :61, :50])["c2"].shape[1:3] == (16, 13)


def test_outputs_can_be_chosen_and_pyramids_of_keras_hub_are_taken(network):
    chosen = from_keras(network, maps={"c3": "relu3", "c5": "add5"})
    assert chosen.maps == {"c3": "relu3", "c5": "add5"}
    body = residual()
    body.pyramid_outputs = {
        "P2": body.get_layer("relu2").output,
        "P3": body.get_layer("add3").output,
    }
    assert from_keras(body).maps == {"c2": "relu2", "c3": "add3"}


def test_what_it_makes_is_stored_without_custom_objects(network, tmp_path):
    backbone = from_keras(network, stochastic_depth=0.2, frozen_stages=1)
    backbone.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    images = normalized(backbone, photo())
    for name, value in backbone(images).items():
        np.testing.assert_array_equal(again(images)[name], value)
    assert rates(again) == rates(backbone) and frozen(again) == frozen(backbone)


def test_a_copy_keeps_the_precision_of_the_network():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = residual()
    finally:
        keras.config.set_dtype_policy("float32")
    backbone = from_keras(network)
    assert backbone.pixel_mean == (127.5,) * 3
    assert backbone(normalized(backbone, photo()))["c5"].dtype == "bfloat16"
    assert {v.dtype for v in backbone.weights} == {"float32"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(norm="group"), "norm must be 'frozen_batch' or 'batch'.*'group'"),
        (dict(frozen_stages=6), r"frozen_stages must be in 0\.\.5.*6"),
        (dict(stochastic_depth=1.0), r"stochastic_depth must be in 0\.\.0\.9.*1\.0"),
        (dict(channels=33), r"channels must be in 1\.\.32.*33"),
        (dict(maps=["nothing"]), "maps must be names of layers.*nothing"),
        (dict(maps="out_relu"), "maps must be a dict or list of names of layers.*'out_relu'"),
        (dict(preprocess="imagenet"), "preprocess must be a function.*'imagenet'"),
        (dict(stochastic_depth="0.2"), r"stochastic_depth must be in 0\.\.0\.9.*'0\.2'"),
    ],
)
def test_wrong_arguments_are_refused(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        from_keras(network, **arguments)


def fails(images):
    raise TypeError("expected\na picture")


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (fails, r"preprocess=fails, which raised TypeError: expected a picture$"),
        (lambda images: None, r"lambda.* made an array of shape \(\) of one of \(1, 4, 4, 3\)"),
        (lambda images: images[..., :1], r"shape \(1, 4, 4, 1\) of one of \(1, 4, 4, 3\)"),
        (lambda images: "a.png", "which raised ValueError: could not convert string"),
        (functools.partial(fails), "preprocess=partial, which raised TypeError"),
        (np.sqrt, "one factor and one offset.*preprocess=sqrt, which does something else"),
    ],
)
def test_one_line_names_a_preprocess_that_fails(network, preprocess, message):
    with pytest.raises(ValueError, match=message) as e:
        from_keras(network, preprocess=preprocess)
    assert "\n" not in str(e.value)


def test_wrong_networks_are_refused():
    images = keras.Input((None, None, 3))
    two = keras.Model([images, keras.Input((None, None, 3))], images)
    for network, message in (
        (keras.layers.Dense(2), "functional Keras model"),
        (two, r"images \(B, H, W, channels\) only"),
        (keras.Sequential([keras.Input((7,)), LAYERS.Dense(2)]), r"images \(B, H, W, channels\)"),
    ):
        with pytest.raises(ValueError, match=message):
            from_keras(network)
    plain = keras.Model(images, LAYERS.Conv2D(2, 4, 4)(images))
    with pytest.raises(ValueError, match="stochastic_depth must be 0"):
        from_keras(plain, preprocess=lambda x: x, stochastic_depth=0.1)
    with pytest.raises(ValueError, match="channels must be 5"):
        from_keras(residual(channels=5), channels=3)
    norm_first = keras.Model(images, LAYERS.Conv2D(2, 4, 4)(LAYERS.BatchNormalization()(images)))
    with pytest.raises(ValueError, match=r"channels must be 3.*'batch_normalization'"):
        from_keras(norm_first, preprocess=lambda x: x, channels=4)


def test_augmentation_before_the_network_is_left_out():
    x = images = keras.Input((None, None, 3))
    for layer in (LAYERS.RandomFlip(seed=0), LAYERS.Rescaling(1 / 255), LAYERS.Conv2D(2, 4, 4)):
        x = layer(x)
    backbone = from_keras(keras.Model(images, x))
    assert [type(layer).__name__ for layer in backbone.layers] == ["InputLayer", "Conv2D"]
    assert backbone.pixel_std == (255.0,) * 3


@pytest.mark.parametrize(
    ("layer", "after"), [(LAYERS.Resizing(64, 64), 0), (LAYERS.RandomFlip(), 1)]
)
def test_layers_that_move_objects_are_refused(layer, after):
    x = images = keras.Input((None, None, 3))
    convolutions = [LAYERS.Conv2D(2, 2, 2), LAYERS.Conv2D(2, 2, 2)]
    for part in (*convolutions[:after], layer, *convolutions[after:]):
        x = part(x)
    network = keras.Model(images, x)
    message = rf"must not resize, crop or augment images.*'{layer.name}', a {type(layer).__name__}"
    with pytest.raises(ValueError, match=message):
        from_keras(network, preprocess=lambda images: images)


def test_the_face_has_it():
    import keras_maskrcnn

    assert keras_maskrcnn.backbones.from_keras is backbones.from_keras
