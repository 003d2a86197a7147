"""Arrays of Matterport and keras.applications in our layout; test_matterport.py runs a model."""

import pathlib

import h5py
import keras
import numpy as np
import pytest

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli
from keras_maskrcnn.layers.bands import adapt_kernel
from keras_maskrcnn.layers.resnet import resnet
from keras_maskrcnn.weights import (
    CheckpointError,
    load_keras_applications,
    load_matterport,
    public,
    untrained,
)
from keras_maskrcnn.weights.from_keras import our_weights

MATTERPORT = "mask_rcnn_resnet50_fpn_matterport"
TINY = dict(
    num_classes=4,
    backbone_width=8,
    fpn_channels=32,
    rpn_head_channels=64,
    box_head_units=64,
    mask_head_channels=32,
)
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def new_model(**overrides):
    return mrcnn.MaskRCNN.from_preset(MATTERPORT, **{**TINY, **overrides})


def rewrite(source, path, change):
    """Copies a Matterport file with `change` applied to its dict of arrays."""
    arrays = {}
    with h5py.File(source) as file:
        file.visititems(
            lambda key, item: (
                arrays.update({key: item[()]}) if isinstance(item, h5py.Dataset) else None
            )
        )
    with h5py.File(path, "w") as file:
        for key, value in change(arrays).items():
            file[key] = value
    return path


def layer(name, variables):
    return {f"{name}/{name}/{key}:0": np.array(value) for key, value in variables.items()}


def test_a_bias_before_a_norm_moves_its_mean_and_epsilon_its_variance():
    arrays = {
        **layer("res4w_branch2b", {"kernel": np.ones((3, 3, 1, 1)), "bias": [3.0]}),
        **layer("bn4w_branch2b", dict(zip(NORM, ([2.0], [5.0], [7.0], [1.0]), strict=True))),
    }
    renamed = our_weights(arrays, "matterport", epsilon=1e-5)
    norm = {key.rpartition("/")[2]: float(v[0]) for key, v in renamed.items() if "/norm/" in key}
    assert {key.rpartition("/")[0] for key in renamed} == {
        "backbone/res4_22_conv2",
        "backbone/res4_22_conv2/norm",
    }
    assert norm == {"gamma": 2.0, "beta": 5.0, "moving_mean": 4.0, "moving_variance": 1.00099}


def test_a_norm_in_a_head_is_multiplied_into_its_layer():
    arrays = {
        **layer("mrcnn_class_conv1", {"kernel": np.full((7, 7, 2, 1), 3.0), "bias": [1.0]}),
        **layer("mrcnn_class_bn1", dict(zip(NORM, ([4.0], [5.0], [0.0], [3.999]), strict=True))),
    }
    renamed = our_weights(arrays, "matterport", epsilon=1e-5)
    np.testing.assert_allclose(renamed.pop("box_head/fc1/kernel"), np.full((98, 1), 6.0))
    np.testing.assert_allclose(renamed.pop("box_head/fc1/bias"), [7.0])
    assert not renamed


def test_outputs_are_in_our_order():
    arrays = {
        "rpn_model/rpn_class_raw/bias:0": np.array([1.0, 5.0, 2.0, 9.0]),
        "rpn_model/rpn_bbox_pred/bias:0": np.array([1.0, 2.0, 3.0, 4.0]),
        **layer("mrcnn_bbox_fc", {"bias": np.arange(12.0)}),
        **layer("mrcnn_mask", {"bias": [7.0, 8.0, 9.0]}),
    }
    renamed = our_weights(arrays, "matterport", epsilon=0.0)
    np.testing.assert_allclose(renamed["rpn_head/logits/bias"], [4, 7])
    np.testing.assert_allclose(renamed["rpn_head/deltas/bias"], [0.2, 0.1, 0.8, 0.6])
    np.testing.assert_allclose(renamed["box_head/box_deltas/bias"], [5, 4, 7, 6, 9, 8, 11, 10])
    np.testing.assert_allclose(renamed["mask_head/logits/bias"], [8, 9])


@pytest.mark.parametrize(
    "key",
    [
        "bn_conv1/bn_conv1/moving_variance:0",
        "bn_conv1/bn_conv1_1/moving_variance:0",  # the second model of a process
        "bn_conv1/bn_conv1_running_std:0",  # Keras 1
        "model_weights/bn_conv1/bn_conv1/moving_variance:0",  # model.save
        "model_weights/conv1_bn/conv1_bn/moving_variance",  # model.save of Keras 3
    ],
)
def test_names_that_keras_has_used(key):
    renamed = our_weights({key: np.ones(1)}, "keras_applications", epsilon=1.001e-5)
    np.testing.assert_array_equal(renamed["backbone/stem/norm/moving_variance"], [1.0])


def test_what_is_no_layer_of_ours_keeps_its_name():
    arrays = {"conv1/conv1/depth:0": np.ones(1), "mrcnn_keypoints/bias:0": np.ones(1)}
    assert set(our_weights(arrays, "matterport", 0.0)) == set(arrays)


def test_an_array_too_many_or_too_few_is_an_error(matterport_file, tmp_path):
    extra = {"mrcnn_keypoints/mrcnn_keypoints/bias:0": np.ones(1)}
    path = rewrite(matterport_file, tmp_path / "more.h5", lambda arrays: {**arrays, **extra})
    with pytest.raises(CheckpointError, match="more.h5 holds mrcnn_keypoints/mrcnn_keypoints/bias"):
        load_matterport(new_model(), path)
    gone = "mrcnn_class_bn2/mrcnn_class_bn2/gamma:0"
    path = rewrite(
        matterport_file, tmp_path / "less.h5", lambda a: {k: v for k, v in a.items() if k != gone}
    )
    with pytest.raises(CheckpointError, match=r"less.h5 holds box_head/fc2/norm/beta"):
        load_matterport(new_model(), path)


def test_another_depth_is_an_error(matterport_file):
    with pytest.raises(CheckpointError, match=r"has no backbone/res4_6_conv1/kernel.*preset"):
        load_matterport(new_model(backbone="resnet101"), matterport_file)


def test_another_class_count_is_an_error_or_leaves_the_predictors_out(matterport_file):
    model = new_model(num_classes=2)
    with pytest.raises(CheckpointError, match=r"box_deltas.*\(64, 16\).*skip_predictors"):
        load_matterport(model, matterport_file)
    report = load_matterport(model, matterport_file, skip_predictors=True)
    assert set(report.missing) == {
        f"{name}/{variable}"
        for name in ("box_head/class_logits", "box_head/box_deltas", "mask_head/logits")
        for variable in ("kernel", "bias")
    }


def test_anchors_and_optimizer_of_a_whole_model_are_left_out(matterport_file, tmp_path):
    def whole(arrays):
        arrays = {f"model_weights/{key}": value for key, value in arrays.items()}
        arrays["model_weights/anchors/Variable:0"] = np.zeros((2, 3, 4))
        return {**arrays, "optimizer_weights/SGD/momentum:0": np.zeros(3)}

    report = load_matterport(new_model(), rewrite(matterport_file, tmp_path / "all.h5", whole))
    assert set(report.skipped.values()) == {"our config has them", "the state of an optimizer"}
    assert not report.missing


def test_the_preset_finds_its_loader(matterport_file, capsys):
    model = mrcnn.MaskRCNN.from_preset(
        MATTERPORT, weights=matterport_file, **TINY | {"num_classes": 3}
    )
    assert model.config.num_classes == 3
    assert "predictors, as asked" in capsys.readouterr().out


def test_command_imports_matterports_file(matterport_file, tmp_path, capsys):
    flags = [f"--{name}={value}" for name, value in TINY.items()]
    path = pathlib.Path(tmp_path / "model.keras")
    assert not cli.run(
        [
            "import-weights",
            "--source=matterport",
            f"--preset={MATTERPORT}",
            f"--checkpoint={matterport_file}",
            f"--output={path}",
            *flags,
        ]
    )
    assert "matched 307 arrays" in capsys.readouterr().out and path.exists()


# keras.applications


@pytest.fixture(scope="module")
def resnet50():
    """keras.applications' ResNet-50 with random values also where initializers give 0 or 1."""
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 96, 3), classes=5)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
        elif variable.name in ("gamma", "moving_variance"):
            variable.assign(rng.uniform(0.8, 1.25, variable.shape))
    return model


class Backbone:
    """Stands for a model in a loader: a backbone and its config, without heads."""

    def __init__(self, **overrides):
        self.config = mrcnn.MaskRCNNConfig(
            **{"stride_in_1x1": True, "pixel_std": (1.0, 1.0, 1.0), **overrides}
        )
        self.backbone = resnet("resnet50", stride_in_1x1=self.config.stride_in_1x1)
        self.networks = {"backbone": self.backbone}


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_keras_applications_resnet_has_the_same_outputs(resnet50, suffix, tmp_path):
    path = str(tmp_path / f"resnet50{suffix}")
    resnet50.save_weights(path) if suffix == ".weights.h5" else resnet50.save(path)
    model = Backbone()
    report = load_keras_applications(model, path)
    assert not report.missing and set(report.skipped.values()) == {"ImageNet's classifier"}
    pixels = np.random.default_rng(1).uniform(-100, 100, (1, 64, 96, 3)).astype(np.float32)
    names = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
    theirs = keras.Model(resnet50.input, [resnet50.get_layer(name).output for name in names])
    outputs = model.backbone(pixels[..., ::-1])  # RGB; keras.applications takes BGR
    for stage, expected in zip(("c2", "c3", "c4", "c5"), theirs(pixels), strict=True):
        # Rounding of float32: 1 of 12288 values differs by 1.1e-5 with TensorFlow 2.18.
        np.testing.assert_allclose(outputs[stage], expected, rtol=0, atol=2e-5 * np.std(expected))


@pytest.mark.parametrize(
    ("field", "value"),
    [("stride_in_1x1", False), ("pixel_std", (58.0, 57.0, 57.0)), ("stem_pool_same", True)],
)
def test_a_config_that_does_not_fit_keras_applications_is_an_error(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be .* Received: {field}="):
        load_keras_applications(Backbone(**{field: value}), "no.h5")


def applications_file(path, network):
    """Writes a backbone's arrays as a .h5 file of keras.applications (Keras 2)."""
    parts = {"shortcut": 0, "conv1": 1, "conv2": 2, "conv3": 3}
    arrays = {}
    for variable in network.weights:
        layer, *_, name = variable.path.split("/")
        kind = "bn" if "/norm/" in variable.path else "conv"
        theirs = f"conv1_{kind}"
        if layer != "stem":
            stage, block, part = layer.removeprefix("res").split("_")
            theirs = f"conv{stage}_block{int(block) + 1}_{parts[part]}_{kind}"
        value = np.asarray(variable)
        arrays[f"{theirs}/{theirs}/{name}:0"] = (
            value[:, :, ::-1] if layer == "stem" and kind == "conv" else value
        )
    with h5py.File(path, "w") as file:
        for key, value in arrays.items():
            file[key] = value


def test_imagenet_weights_come_the_way_of_keras_applications(tmp_path, monkeypatch):
    source = resnet("resnet50", width=8, stride_in_1x1=True)
    for variable in source.weights:
        variable.assign(variable + 0.5)
    applications_file(tmp_path / "notop.h5", source)
    asked = []

    def get_file(name, **arguments):
        asked.append((name, arguments))
        return str(tmp_path / "notop.h5")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    model = mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn", weights="imagenet", **TINY)
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    hashes = keras.src.applications.resnet.WEIGHTS_HASHES
    assert asked == [
        (
            name,
            {
                "origin": keras.src.applications.resnet.BASE_WEIGHTS_PATH + name,
                "cache_subdir": "models",
                "file_hash": hashes["resnet50"][1],
            },
        )
    ]
    assert public.IMAGENET["resnet101"][1] == hashes["resnet101"][1]
    assert model.config.stride_in_1x1 and model.config.pixel_std == (1.0, 1.0, 1.0)
    assert model.config.pixel_mean == (123.68, 116.779, 103.939)
    for ours, theirs in zip(model.backbone.weights, source.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, err_msg=ours.path)
    assert untrained.advice(model.networks) == ""
    bands = mrcnn.MaskRCNN.from_preset(
        "mask_rcnn_resnet50_fpn", weights="imagenet", in_channels=4, **TINY
    )
    assert bands.config.pixel_mean == (123.68, 116.779, 103.939, 123.68)
    expected = adapt_kernel(np.asarray(source.get_layer("stem").kernel), 4)
    np.testing.assert_allclose(bands.backbone.get_layer("stem").kernel, expected, atol=1e-6)


def test_imagenet_weights_that_there_are_not_are_an_error(monkeypatch):
    with pytest.raises(ValueError, match="resnet50 and resnet101. Received: backbone='resnet18'"):
        mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet18_fpn_small", weights="imagenet")

    def offline(*args, **kwargs):
        raise Exception("URL fetch failure on x: None --\nno route")

    monkeypatch.setattr(keras.utils, "get_file", offline)
    with pytest.raises(CheckpointError, match="kernels_notop.h5 cannot be .*load_keras_appl") as e:
        mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_c4", weights="imagenet")
    assert "\n" not in str(e.value)
