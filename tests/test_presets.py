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
