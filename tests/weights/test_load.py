import pathlib

import numpy as np
import pytest
from parity import peer_weights

import keras_maskrcnn as mrcnn
from keras_maskrcnn import cli
from keras_maskrcnn.weights import CheckpointError, load_detectron2, load_torchvision
from keras_maskrcnn.weights.checkpoint import require_finite

TINY = dict(
    num_classes=4, backbone_width=8, fpn_channels=32, box_head_units=64, mask_head_channels=32
)


@pytest.fixture(scope="module")
def arrays():
    """A torchvision state dict with an eighth of the width, 4 classes and background."""
    return peer_weights("fpn_torchvision")


def new_model(**overrides):
    preset = "mask_rcnn_resnet50_fpn_torchvision"
    return mrcnn.MaskRCNN.from_preset(preset, **{**TINY, **overrides})


def write(arrays, tmp_path):
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    return path


def test_every_array_is_accounted_for(arrays, tmp_path, capsys):
    report = load_torchvision(new_model(), write(arrays, tmp_path))
    assert set(report.matched.values()) == set(arrays)
    assert not report.missing and not report.skipped
    assert f"matched {len(arrays)} arrays" in capsys.readouterr().out


def test_a_key_too_many_is_an_error_and_changes_nothing(arrays, tmp_path):
    model = new_model()
    before = model.get_weights()
    path = write({**arrays, "roi_heads.keypoint_head.0.weight": np.zeros(3)}, tmp_path)
    with pytest.raises(CheckpointError, match="model.npz holds roi_heads.keypoint_head.0.weight"):
        load_torchvision(model, path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_key_too_few_is_an_error(arrays, tmp_path):
    short = {k: v for k, v in arrays.items() if k != "rpn.head.bbox_pred.bias"}
    with pytest.raises(CheckpointError, match="has no rpn.head.bbox_pred.bias .* rpn_head/deltas"):
        load_torchvision(new_model(), write(short, tmp_path))


def test_another_depth_is_an_error(arrays, tmp_path):
    with pytest.raises(CheckpointError, match=r"has no backbone.body.layer3.6\.\S+.*preset"):
        load_torchvision(new_model(backbone="resnet101"), write(arrays, tmp_path))


def test_another_class_count_is_an_error_that_names_the_way_out(arrays, tmp_path):
    with pytest.raises(CheckpointError, match=r"bbox_pred.*\(20, 64\).*skip_predictors"):
        load_torchvision(new_model(num_classes=7), write(arrays, tmp_path))


def test_skipped_predictors_stay_as_they_were_and_are_named(arrays, tmp_path):
    model = new_model(num_classes=7)
    before = model.box_head.get_layer("class_logits").kernel.numpy()
    report = load_torchvision(model, write(arrays, tmp_path), skip_predictors=True)
    np.testing.assert_array_equal(model.box_head.get_layer("class_logits").kernel, before)
    assert len(report.skipped) == len(report.missing) == 6
    assert "box_head/class_logits/kernel" in report.missing
    assert "left 6 variables unchanged" in str(report)


def test_an_imagenet_resnet_is_loaded_as_the_backbone(arrays, tmp_path):
    body = "backbone.body."
    resnet = {k.removeprefix(body): v for k, v in arrays.items() if k.startswith(body)}
    resnet |= {"fc.weight": np.zeros((1000, 256)), "bn1.num_batches_tracked": np.array(3)}
    model = new_model()
    report = load_torchvision(model, write(resnet, tmp_path))
    expected = arrays["backbone.body.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.backbone.get_layer("stem").kernel, expected)
    assert set(report.skipped.values()) == {"ImageNet's classifier", "a counter of training steps"}
    assert {name.split("/")[0] for name in report.missing} == {
        "fpn",
        "rpn_head",
        "box_head",
        "mask_head",
    }


def test_faster_rcnn_is_loaded_and_masks_are_no_part_of_it(arrays, tmp_path):
    model = mrcnn.MaskRCNN.from_preset("faster_rcnn_resnet50_fpn_torchvision", **TINY)
    boxes = {k: v for k, v in arrays.items() if "mask" not in k}
    assert not load_torchvision(model, write(boxes, tmp_path)).missing
    with pytest.raises(CheckpointError, match="holds roi_heads.mask_head.0.0.bias"):
        load_torchvision(model, write(arrays, tmp_path))


def test_background_moves_from_last_to_first(tmp_path):
    arrays = peer_weights("fpn_detectron2")
    model = mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn_detectron2", **TINY)
    load_detectron2(model, write(arrays, tmp_path), verbose=False)
    bias = model.box_head.get_layer("class_logits").bias.numpy()
    stored = arrays["roi_heads.box_predictor.cls_score.bias"]
    np.testing.assert_array_equal(bias, [stored[4], *stored[:4]])
    stem = model.backbone.get_layer("stem").kernel.numpy()
    stored = arrays["backbone.bottom_up.stem.conv1.weight"]
    np.testing.assert_array_equal(stem[:, :, 0], stored[:, 2].transpose(1, 2, 0))


def test_a_classifiers_last_stage_goes_into_the_head_of_c4(tmp_path):
    model = mrcnn.MaskRCNN.from_preset(
        "faster_rcnn_resnext50_32x4d_c4", num_classes=2, backbone_width=16
    )
    arrays, torch = (
        {},
        {
            "gamma": "weight",
            "beta": "bias",
            "moving_mean": "running_mean",
            "moving_variance": "running_var",
        },
    )
    rng = np.random.default_rng(0)
    for v in model.backbone.weights + model.res5.weights:
        layer, *_, name = v.path.split("/")
        stage, block, part = layer.split("_") if "_" in layer else ("", "", "conv1")
        prefix = f"layer{int(stage[3]) - 1}.{block}." if stage else ""
        conv, norm = (part, part.replace("conv", "bn"))
        if part == "shortcut":
            conv, norm = "downsample.0", "downsample.1"
        if name == "kernel":  # (out, in / groups, height, width)
            arrays[f"{prefix}{conv}.weight"] = rng.normal(size=(*v.shape[:1:-1], *v.shape[:2]))
        else:
            arrays[f"{prefix}{norm}.{torch[name]}"] = rng.uniform(1, 2, v.shape)
    report = load_torchvision(model, write(arrays, tmp_path), verbose=False)
    assert set(report.matched.values()) == {f"backbone.body.{key}" for key in arrays}
    assert {name.split("/")[0] for name in report.missing} == {"rpn_head", "box_head"}
    kernel = model.res5.get_layer("res5_1_conv2").kernel
    expected = arrays["layer4.1.conv2.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def flags(path, output):
    return [
        "import-weights",
        "--source=torchvision",
        "--preset=mask_rcnn_resnet50_fpn_torchvision",
        f"--checkpoint={path}",
        f"--output={output}",
        "--num_classes=4",
        "--backbone_width=8",
        "--fpn_channels=32",
        "--box_head_units=64",
        "--mask_head_channels=32",
    ]


def test_command_writes_a_model(arrays, tmp_path, capsys):
    import keras

    argv = flags(write(arrays, tmp_path), tmp_path / "model.keras")
    assert cli.run(argv) == 0
    assert "matched 307 arrays" in capsys.readouterr().out
    model = keras.models.load_model(tmp_path / "model.keras")
    assert model.config.mask_paste == "torchvision"
    assert cli.run(argv) == 1  # files are only overwritten on request


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"cos\nsystem\n(S'touch was_here'\ntR.", "is refused: its pickle wants to call os.system"),
        (b"\x80\x02}q\x00(X\x01\x00", "is broken"),
    ],
)
def test_command_answers_a_bad_file_with_one_line(content, words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path("model.pth")
    if content is not None:
        path.write_bytes(content)
    assert cli.run(flags(path, "model.keras")) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert words in line and "model.pth" in line
    assert not pathlib.Path("was_here").exists()


def test_weights_that_are_not_finite_are_named_and_change_nothing():
    with pytest.raises(CheckpointError, match="a.pth: .* Received: 2 of 3 numbers of fc.weight"):
        require_finite("a.pth", "fc.weight", np.array([1.0, np.nan, np.inf]))
    require_finite("a.pth", "fc.weight", np.array([[1, 2]], np.int8))


def test_a_misspelled_name_of_weights_is_refused_with_those_that_there_are():
    words = r"'coco', 'imagenet' or the path .*no such file\. Received: weights='cocoo'\.$"
    with pytest.raises(CheckpointError, match=words):
        mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn_torchvision", weights="cocoo")
    with pytest.raises(ValueError, match=r"Those take 'coco' .* weights='cocoo'\.$"):
        mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet50_fpn", weights="cocoo")
