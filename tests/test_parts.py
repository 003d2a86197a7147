"""Parts that are passed in replace the config's, in training, files and exports."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_maskrcnn as mrcnn
from keras_maskrcnn import networks
from keras_maskrcnn.backbones import from_keras
from keras_maskrcnn.export.optimize import folded_copy
from keras_maskrcnn.layers import heads
from keras_maskrcnn.layers.resnet import resnet
from keras_maskrcnn.model import MaskRCNN
from keras_maskrcnn.parts import with_pixels_of
from keras_maskrcnn.roi_heads import RoIHeads
from keras_maskrcnn.rpn import RegionProposalNetwork


def four_convolutions(channels=8):
    """The smallest backbone: one convolution per map."""
    x = images = keras.Input((None, None, 3))
    maps = {}
    for level, stride in (("c2", 4), ("c3", 2), ("c4", 2), ("c5", 2)):
        x = keras.layers.Conv2D(channels, 3, stride, padding="same", activation="relu")(x)
        maps[level] = x
    return keras.Model(images, maps, name="four_convolutions")


def flat_neck(backbone, channels):
    """A neck without a top-down path: it treats each map separately."""
    inputs = {
        name: keras.Input((None, None, x.shape[-1]), name=name)
        for name, x in backbone.output.items()
    }
    maps = {f"p{i}": keras.layers.Conv2D(channels, 1)(inputs[f"c{i}"]) for i in range(2, 6)}
    maps["p6"] = keras.layers.MaxPooling2D(1, 2)(maps["p5"])
    return keras.Model(inputs, maps, name="flat_neck")


@keras.saving.register_keras_serializable(package="tests")
class HalfHeads(RoIHeads):
    """Heads with half the losses."""

    def compute_losses(self, *args, **kwargs):
        terms, labels = super().compute_losses(*args, **kwargs)
        return {name: value / 2 for name, value in terms.items()}, labels


@keras.saving.register_keras_serializable(package="tests")
class FewerProposals(RegionProposalNetwork):
    """An RPN that selects three proposals."""

    def select(self, outputs, sizes, **limits):
        return super().select(outputs, sizes, **{**limits, "count": 3})


@pytest.fixture(scope="module")
def config(tiny_config):
    return dataclasses.replace(tiny_config, score_threshold=0.0)


@pytest.fixture
def parts(config):
    """All parts that can be passed in."""
    backbone = four_convolutions()
    channels = config.fpn_channels
    heads_ = networks.build_roi_heads(config, channels)
    return dict(
        backbone=backbone,
        neck=flat_neck(backbone, channels),
        rpn=FewerProposals(config, heads.rpn_head(channels, num_anchors=3, width=4)),
        roi_heads=HalfHeads(
            config, heads_.box_align, heads_.box_head, heads_.mask_align, heads_.mask_head
        ),
    )


def test_parts_from_outside_train_are_saved_copied_and_exported(config, parts, batch, tmp_path):
    model = MaskRCNN(config, **parts)
    assert model.backbone is parts["backbone"] and model.fpn is parts["neck"]
    assert model.rpn is parts["rpn"] and model.rpn_head is parts["rpn"].head
    model.compile(mrcnn.training.sgd(0.01, warmup_steps=0))
    before = model.get_weights()
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    for variable, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        assert np.any(old != new), variable.path
    expected = model.predict(batch[0], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.rpn, FewerProposals) and isinstance(loaded.roi_heads, HalfHeads)
    assert loaded.backbone.name == "four_convolutions" and loaded.fpn.name == "flat_neck"
    copies = {
        "loaded": loaded,
        "with_config": model.with_config(class_names=("a", "b", "c")),
        "folded": folded_copy(model),
    }
    for name, copy in copies.items():
        found = copy(batch[0])
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=f"{name} {key}")
    assert copies["with_config"].rpn.config.class_names == ("a", "b", "c")


def test_losses_of_a_stage_from_outside_count(config, parts, batch):
    batch = tf.nest.map_structure(tf.constant, batch)
    model = MaskRCNN(config, **parts)
    half = model.compute_losses(*batch)
    ours = model.roi_heads
    model.roi_heads = RoIHeads(
        config, ours.box_align, ours.box_head, ours.mask_align, ours.mask_head
    )
    whole = model.compute_losses(*batch)
    for name in ("classifier", "box", "mask"):
        assert float(half[name]) == pytest.approx(float(whole[name]) / 2)
    assert float(half["rpn_box"]) == float(whole["rpn_box"])


def test_a_backbone_alone_gets_our_neck_and_stages(tiny_config, batch):
    model = MaskRCNN(tiny_config, backbone=four_convolutions())
    assert model.fpn.name == "fpn"
    found = model(batch[0])
    assert found["masks"].shape == (2, 10, 28, 28)
    assert set(MaskRCNN(tiny_config).get_config()) == {"name", "dtype", "config"}


@pytest.mark.parametrize(
    ("neck", "missing"), [("fpn", r"\['c2', 'c3', 'c4'\]"), ("c4", r"\['c4'\]")]
)
def test_a_backbone_without_the_maps_of_the_neck_is_refused(tiny_config, neck, missing):
    whole = four_convolutions()
    backbone = keras.Model(whole.input, {"c5": whole.output["c5"]})
    config = dataclasses.replace(tiny_config, neck=neck, mask_pool_size=7)
    with pytest.raises(ValueError, match=f"the backbone lacks maps for neck='{neck}': {missing}"):
        MaskRCNN(config, backbone=backbone)


def test_networks_of_keras_get_images_whose_sides_are_multiples_of_32(tiny_config):
    """NASNet adds maps that have other sizes otherwise, and ConvNeXt leaves out the last pixels."""
    any_size = dict(neck="c5", anchor_sizes=(32.0,), padding_multiple=1)
    config = dataclasses.replace(tiny_config, **any_size)  # right for our ResNets
    words = "padding_multiple must be a multiple of 32 .*backbone"
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(config, backbone="nasnet_mobile", backbone_width=64)
    backbone = from_keras(four_convolutions(), preprocess=lambda images: images)
    with pytest.raises(ValueError, match=words):
        MaskRCNN(config, backbone=backbone)


def test_a_neck_without_maps_is_refused(tiny_config):
    backbone = four_convolutions()
    neck = keras.Model(backbone.input, {"p2": backbone.output["c2"]})
    with pytest.raises(ValueError, match=r"the neck lacks maps.*\['p3', 'p4', 'p5', 'p6'\]"):
        MaskRCNN(tiny_config, backbone=backbone, neck=neck)


def test_stages_that_contradict_the_config_are_refused(config):
    def stages(**fields):
        of = dataclasses.replace(config, **fields)
        return networks.build_rpn(of, 16), networks.build_roi_heads(of, 16)

    rpn, heads = stages()
    other, _ = stages(rpn_nms_iou=0.5)
    _, boxes = stages(task="boxes")
    boxes.config = config
    for fields, given, error in (
        ({}, {"rpn": other}, "rpn must have the model's config. Received: .*{'rpn_nms_iou': 0.5}"),
        ({}, {"roi_heads": boxes}, "if, and only if, task is 'masks'. Received: task='masks'"),
        ({"proposals": "precomputed"}, {"rpn": rpn}, "a model without rpn takes none"),
        ({"task": "proposals"}, {"roi_heads": heads}, "without roi_heads .* task='proposals'"),
    ):
        with pytest.raises(ValueError, match=error):
            MaskRCNN(dataclasses.replace(config, **fields), **given)


def test_what_is_no_part_is_refused(config, parts):
    layer = keras.layers.Conv2D(8, 3)
    for given, error in (
        (
            {"backbone": layer},
            r"the backbone must be a functional Keras model .* Received: <Conv2D",
        ),
        ({"backbone": "resnet18"}, "the backbone must be .* Received: 'resnet18'"),
        ({"neck": layer}, "the neck must be a functional Keras model"),
        ({"rpn": parts["roi_heads"]}, "rpn must be a RegionProposalNetwork .* Received: rpn=<"),
        ({"roi_heads": layer}, "roi_heads must be a RoIHeads or an instance of a subclass"),
    ):
        with pytest.raises(ValueError, match=error):
            MaskRCNN(config, **given)
    with pytest.raises(
        ValueError, match="config must be a MaskRCNNConfig; .* Received: config='x'"
    ):
        MaskRCNN("x")


def test_a_backbone_of_other_strides_is_refused(tiny_config):
    whole, images = four_convolutions(), keras.Input((None, None, 3))
    backbone = keras.Model(images, whole(keras.layers.AveragePooling2D(2)(images)))
    with pytest.raises(
        ValueError, match="the map 'p2' must have stride 4 .* 128 rows for an image"
    ):
        MaskRCNN(tiny_config, backbone=backbone)
    fixed = keras.Input((64, 96, 3))
    MaskRCNN(tiny_config, backbone=keras.Model(fixed, whole(fixed)))


def test_a_backbone_whose_maps_the_neck_cannot_add_is_refused(tiny_config):
    """Such as ResNet50V2, which halves the size in the last block of a stage."""
    whole = four_convolutions()
    late = {**whole.output, "c2": whole.output["c3"]}
    with pytest.raises(
        ValueError, match="strides 4, 8, 16 and 32. Received: rows=.*'c2': 128.* an image of 1024"
    ):
        MaskRCNN(tiny_config, backbone=keras.Model(whole.input, late))


@pytest.mark.parametrize("name", ["config", "rpn", "backbone", "rpn_head"])
def test_a_stage_cannot_take_the_name_of_something_else(config, parts, name):
    class More(HalfHeads):
        networks = property(lambda self: {**super().networks, name: self.box_head})

    ours = parts["roi_heads"]
    more = More(config, ours.box_align, ours.box_head, ours.mask_align, ours.mask_head)
    with pytest.raises(
        ValueError, match=f"needs a name that the model does not use .* Received: '{name}', of More"
    ):
        MaskRCNN(config, roi_heads=more)


def test_a_part_made_outside_of_the_scope_is_refused(tiny_config, two_devices):
    outside = four_convolutions()
    with two_devices.scope():
        with pytest.raises(
            ValueError, match="made in the strategy scope .* Received: backbone=<Functional"
        ):
            MaskRCNN(tiny_config, backbone=outside)
        MaskRCNN(tiny_config, backbone=four_convolutions())


def test_a_class_that_is_not_registered_is_named(config, parts):
    model = MaskRCNN(config, roi_heads=parts["roi_heads"])
    stored = model.get_config()
    stored["roi_heads"] |= {"class_name": "Unknown", "module": "x", "registered_name": "x>Unknown"}
    with pytest.raises(
        ValueError, match="the roi_heads has an unknown class: .*Received: Unknown.$"
    ):
        MaskRCNN.from_config(stored)


def test_with_c4_the_head_fits_a_backbone_of_any_width(tiny_config, batch):
    config = dataclasses.replace(tiny_config, neck="c4", mask_pool_size=7, task="boxes")
    model = MaskRCNN(config, backbone=four_convolutions(channels=12))
    assert model.res5.input_shape == (None, 7, 7, 12)
    assert model(batch[0])["boxes"].shape == (2, 10, 4)


def test_weights_of_a_backbone_without_names_are_copied(tiny_config):
    first, second = (MaskRCNN(tiny_config, backbone=four_convolutions()) for _ in range(2))
    assert first.copy_networks(second)[0] == "backbone"
    for ours, theirs in zip(first.backbone.weights, second.backbone.weights, strict=True):
        assert ours.path != theirs.path
        np.testing.assert_array_equal(ours, theirs)


def signed():
    """A backbone that says which pixels it expects, as those of `backbones.from_keras`."""
    backbone = resnet("resnet18", width=8)
    backbone.pixel_mean = backbone.pixel_std = (127.5,) * 3
    return backbone


def test_a_model_takes_the_pixels_that_its_backbone_expects(tiny_config):
    rpn = networks.build_rpn(tiny_config, tiny_config.fpn_channels)  # it never sees pixels
    model = MaskRCNN(tiny_config, backbone=signed(), rpn=rpn)
    assert (model.config.pixel_mean, model.config.pixel_std) == ((127.5,) * 3,) * 2
    assert dataclasses.replace(model.config, pixel_mean=(), pixel_std=()) == tiny_config
    again = MaskRCNN.from_config(model.get_config())
    assert again.config == model.config == model.with_config(nms_iou=0.5).config


@pytest.mark.parametrize("mean", [(1.0, 2.0, 3.0), (127.5,) * 3])
def test_pixels_of_the_config_stay_and_a_line_names_both(tiny_config, caplog, mean):
    config = dataclasses.replace(tiny_config, pixel_mean=mean, pixel_std=(127.5,) * 3)
    assert with_pixels_of(config, signed()) == config
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (mean != (127.5,) * 3)
    assert all(
        "pixel_mean=(1.0, 2.0, 3.0)" in x and "has (127.5, 127.5, 127.5)" in x for x in lines
    )


def test_pixels_of_another_number_of_bands_are_refused(tiny_config):
    with pytest.raises(ValueError, match="pixel_mean must be as many numbers as in_channels"):
        MaskRCNN(
            dataclasses.replace(tiny_config, in_channels=5, pixel_mean=(), pixel_std=()),
            backbone=signed(),
        )
