import types

import keras
import pytest
from backbones.networks import residual

from keras_maskrcnn import backbones, training
from keras_maskrcnn.model import MaskRCNN


def test_a_stage_is_frozen_alone(tiny_config):
    model = MaskRCNN(tiny_config)
    training.freeze(model, ["backbone:res2", "rpn_head", "res5"])
    trained = {v.path.split("/")[0].split("_")[0] for v in model.backbone.trainable_variables}
    assert trained == {"stem", "res3", "res4", "res5"}
    assert model.rpn_head.trainable_variables == []
    with pytest.raises(ValueError, match="stages of backbone are stem, .* freeze='backbone:res6'"):
        training.freeze(model, ["backbone:res6"])


def test_a_network_that_a_stage_adds_can_be_frozen():
    added = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model = types.SimpleNamespace(network_names=("fpn", "iou_head"), networks={"iou_head": added})
    training.freeze(model, ["iou_head", "fpn"])
    assert not added.trainable_variables
    with pytest.raises(ValueError, match="networks are fpn, iou_head. Received: freeze='neck'"):
        training.freeze(model, ["neck"])


def test_stages_of_a_backbone_of_keras_are_frozen_by_stride():
    backbone = backbones.from_keras(residual(stages=2), norm="batch")
    model = types.SimpleNamespace(network_names=("backbone",), networks={"backbone": backbone})
    training.freeze(model, ["backbone:stem", "backbone:c3"])
    trained = [v.path for v in backbone.trainable_variables]
    assert trained == ["conv2/kernel", "conv2/bias", "bn2/gamma", "bn2/beta"]
    with pytest.raises(ValueError, match="stages of backbone are stem, c2, c3. Received"):
        training.freeze(model, ["backbone:res2"])


def test_stages_of_a_resnet_can_be_named_by_their_maps(tiny_config):
    model = MaskRCNN(tiny_config)
    training.freeze(model, ["backbone:stem", "backbone:c2"])
    trained = {v.path.split("_")[0] for v in model.backbone.trainable_variables}
    assert trained == {"res3", "res4", "res5"}
