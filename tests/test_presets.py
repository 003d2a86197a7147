import pytest

import keras_maskrcnn
from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.presets import PRESETS, preset_config


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_differs_from_the_defaults_as_it_says(preset):
    config = preset_config(preset, num_classes=3)
    expected = MaskRCNNConfig(**{**PRESETS[preset], "num_classes": 3})
    assert config == expected
    assert f"rcnn_{config.backbone}_{config.neck}" in preset


def test_overrides_win_over_the_preset():
    assert preset_config("mask_rcnn_resnet18_fpn_small", roi_batch=64).roi_batch == 64


def test_unknown_preset_is_answered_with_a_close_one():
    with pytest.raises(ValueError, match="did you mean 'mask_rcnn_resnet50_fpn'"):
        preset_config("mask_rcnn_resnet50_fpm")


def test_preset_unlike_any_is_answered_with_all():
    with pytest.raises(ValueError, match="there are mask_rcnn_resnet18_fpn, .*'yolo'"):
        preset_config("yolo")


def test_unknown_field_is_answered_with_a_close_one():
    with pytest.raises(ValueError, match="did you mean 'num_classes'.*'num_clases'"):
        preset_config("mask_rcnn_resnet50_fpn", num_clases=3)


def test_presets_are_public():
    assert keras_maskrcnn.PRESETS is PRESETS
    assert keras_maskrcnn.preset_config is preset_config


def test_the_numbers_of_a_preset_repeat_for_more_bands():
    config = preset_config("mask_rcnn_resnet50_fpn_detectron2", in_channels=5)
    assert config.pixel_mean == (123.675, 116.28, 103.53, 123.675, 116.28)
    assert config.pixel_std == (1.0,) * 5
    one = preset_config("mask_rcnn_resnet50_fpn_detectron2", in_channels=1, pixel_mean=(9.0,) * 3)
    assert one.pixel_mean == (9.0,) * 3 and one.pixel_std == (1.0,) * 3
    with pytest.raises(ValueError, match="in_channels must be in 1..32. Received: in_channels=40"):
        preset_config("mask_rcnn_resnet50_fpn_detectron2", in_channels=40)
