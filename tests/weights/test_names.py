import numpy as np
import pytest

from keras_maskrcnn.weights.names import peer_names, rename_backbone


def test_caffe2s_resnet_gets_detectron2s_names():
    renamed = rename_backbone(
        {
            "conv1_w": np.zeros(1),
            "res_conv1_bn_s": np.zeros(8),
            "res_conv1_bn_b": np.zeros(8),
            "res2_0_branch2a_w": np.zeros(2),
            "res2_0_branch2c_bn_b": np.zeros(3),
            "res2_0_branch1_w": np.zeros(4),
            "fc1000_w": np.zeros(5),
        },
        "detectron2",
    )
    top = "backbone.bottom_up."
    assert set(renamed) == {
        f"{top}stem.conv1.weight",
        f"{top}stem.conv1.norm.weight",
        f"{top}stem.conv1.norm.bias",
        f"{top}stem.conv1.norm.running_mean",
        f"{top}stem.conv1.norm.running_var",
        f"{top}res2.0.conv1.weight",
        f"{top}res2.0.conv3.norm.bias",
        f"{top}res2.0.shortcut.weight",
        "fc1000_w",
    }
    np.testing.assert_allclose(renamed[f"{top}stem.conv1.norm.running_var"] + 1e-5, 1.0)


def test_names_of_a_layer():
    assert peer_names("torchvision", "backbone/res4_2_conv3", ()) == (
        "backbone.body.layer3.2.conv3",
        "backbone.body.layer3.2.bn3",
    )
    inner = "backbone.fpn.inner_blocks.3"
    assert peer_names("torchvision", "fpn/lateral5", ()) == (f"{inner}.0", f"{inner}.1")
    assert peer_names("torchvision", "box_head/fc1", ()) == ("roi_heads.box_head.fc6", "")
    version_2 = {"roi_heads.box_head.5.weight": None}
    assert peer_names("torchvision", "box_head/fc1", version_2) == ("roi_heads.box_head.5", "")
    assert peer_names("detectron2", "fpn/output3", ())[0] == "backbone.fpn_output3"
    with pytest.raises(ValueError, match="box_head/fc9"):
        peer_names("torchvision", "box_head/fc9", ())


def test_names_in_detectron2s_models_without_fpn():
    c4 = {"backbone.stem.conv1.weight": None, "roi_heads.res5.0.conv1.weight": None}
    assert peer_names("detectron2", "backbone/stem", c4)[1] == "backbone.stem.conv1.norm"
    block = "backbone.res4.2.conv3"
    assert peer_names("detectron2", "backbone/res4_2_conv3", c4) == (block, f"{block}.norm")
    head = "roi_heads.res5.0.shortcut"
    assert peer_names("detectron2", "res5/res5_0_shortcut", c4) == (head, f"{head}.norm")
    dc5 = {"backbone.stem.conv1.weight": None}
    assert peer_names("detectron2", "backbone/res5_1_conv2", dc5)[0] == "backbone.res5.1.conv2"


def test_an_odd_key_in_caffe2s_file_keeps_its_name():
    array = np.zeros(2)
    renamed = rename_backbone({"res2_0_branch2a_w": array, "a\nb_w": array}, "detectron2")
    assert set(renamed) == {"backbone.bottom_up.res2.0.conv1.weight", "a\nb_w"}
