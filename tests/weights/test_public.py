import hashlib

import keras
import numpy as np
import pytest
from parity import peer_weights

import keras_maskrcnn as mrcnn
from keras_maskrcnn.weights import CheckpointError, public

PRESET = "mask_rcnn_resnet50_fpn_torchvision"
TINY = dict(backbone_width=8, fpn_channels=32, box_head_units=64, mask_head_channels=32)


def serve(monkeypatch, path):
    """Makes Keras' download return this file."""
    asked = []

    def get_file(name, origin, cache_subdir):
        asked.append((name, origin, cache_subdir))
        return path

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    return asked


def test_every_peers_preset_has_weights():
    presets = {p for p in mrcnn.PRESETS if "_torchvision" in p or "_detec" in p}
    # Matterport published only one file, a ResNet-101 with masks.
    assert set(public.URLS) == presets | {"mask_rcnn_resnet101_fpn_matterport"}


def test_a_download_is_checked_by_its_hash(tmp_path, monkeypatch):
    path = tmp_path / "file.pth"
    path.write_bytes(b"weights")
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    monkeypatch.setitem(public.SHA256, PRESET, digits)
    asked = serve(monkeypatch, str(path))
    assert public.download(PRESET) == str(path)
    assert asked == [
        ("maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth", public.URLS[PRESET], f"keras_maskrcnn/{PRESET}")
    ]
    path.write_bytes(b"other")
    with pytest.raises(CheckpointError, match=f"file.pth is not the published .* not {digits}"):
        public.download(PRESET)


def test_torchvisions_names_hold_their_hash():
    for preset, url in public.URLS.items():
        if "pytorch.org" in url:
            assert url.endswith(f"-{public.SHA256[preset]}.pth")


def test_offline_the_url_is_named(monkeypatch):
    def get_file(*args, **kwargs):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    with pytest.raises(CheckpointError, match=r"coco-bf2d0c1e.pth cannot be .*\(URL fetch"):
        mrcnn.MaskRCNN.from_preset(PRESET, weights="coco")


def test_a_preset_without_weights_is_an_error():
    with pytest.raises(ValueError, match="preset='mask_rcnn_resnet18_fpn'"):
        mrcnn.MaskRCNN.from_preset("mask_rcnn_resnet18_fpn", weights="coco")
    with pytest.raises(ValueError, match="published for .*preset='mask_rcnn_resnet18_fpn'"):
        public.download("mask_rcnn_resnet18_fpn")


def test_weights_for_other_classes_leave_out_the_predictors(tmp_path, capsys):
    arrays = peer_weights("fpn_torchvision")
    path = tmp_path / "model.npz"
    np.savez(path, **arrays)
    model = mrcnn.MaskRCNN.from_preset(PRESET, weights=path, num_classes=2, **TINY)
    assert model.config.num_classes == 2
    assert "predictors, as asked" in capsys.readouterr().out
    expected = arrays["backbone.body.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.backbone.get_layer("stem").kernel, expected)


def test_classes_of_coco():
    classes = public.coco_classes(80)
    assert classes["class_names"][-1] == "toothbrush" and classes["category_ids"][-1] == 90
    assert len(set(classes["category_ids"])) == len(classes["class_names"]) == 80
    classes = public.coco_classes(90)
    assert classes["class_names"][89] == "toothbrush"
    assert classes["class_names"][11] == "unused 12"
    assert classes["category_ids"] == tuple(range(1, 91))


def test_as_many_classes_as_coco_has_under_other_names_leave_out_the_predictors(
    tmp_path, monkeypatch, capsys
):
    path = tmp_path / "model.npz"
    np.savez(path, **peer_weights("fpn_torchvision"))
    monkeypatch.setattr("keras_maskrcnn.weights.load.download", lambda preset: path)
    names = tuple(f"part {i}" for i in range(90))
    mrcnn.MaskRCNN.from_preset(PRESET, weights="coco", class_names=names, **TINY)
    assert "predictors, as asked" in capsys.readouterr().out
