import dataclasses
import inspect
import json
import re

import pytest

from keras_maskrcnn import data
from keras_maskrcnn.config import MaskRCNNConfig, field_docs
from keras_maskrcnn.config_rules import choices
from keras_maskrcnn.presets import preset_config


def test_config_survives_json():
    config = MaskRCNNConfig(num_classes=2, class_names=("cat", "dog"), category_ids=(17, 18))
    stored = json.loads(json.dumps(dataclasses.asdict(config)))
    assert isinstance(stored["class_names"], list)
    assert MaskRCNNConfig(**stored) == config


def test_config_is_hashable_after_json():
    stored = json.loads(json.dumps(dataclasses.asdict(MaskRCNNConfig())))
    assert hash(MaskRCNNConfig(**stored)) == hash(MaskRCNNConfig())


def test_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MaskRCNNConfig().num_classes = 3


def test_labels_without_names_are_numbered():
    assert MaskRCNNConfig(num_classes=2).names() == ("class 1", "class 2")
    assert MaskRCNNConfig(num_classes=2).ids() == (1, 2)


def test_given_names_and_ids_are_kept():
    config = MaskRCNNConfig(num_classes=2, class_names=("cat", "dog"), category_ids=(17, 18))
    assert (config.names(), config.ids()) == (("cat", "dog"), (17, 18))


def test_resizing_is_what_data_batches_takes_by_these_names():
    config = preset_config("mask_rcnn_resnet50_c4_detectron2", image_min_side=256)
    assert config.resizing() == {
        "min_side": 256,
        "max_side": 1333,
        "resize_rule": "detectron2",
        "padding_multiple": 1,
    }
    assert set(config.resizing()) <= set(inspect.signature(data.batches).parameters)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (None, "a config must be a dict of fields. Received: config=None"),
        ([1], "a config must be a dict"),
        ({"image_minside": 800}, "no such config field; did you mean 'image_min_side'"),
    ],
)
def test_fields_of_a_file_are_checked(fields, words):
    with pytest.raises(ValueError, match=words):
        MaskRCNNConfig.from_fields(fields)


def test_fields_that_a_file_lacks_have_their_defaults():
    assert MaskRCNNConfig.from_fields({"num_classes": 2}) == MaskRCNNConfig(num_classes=2)


# Sources that a field's docstring may name in parentheses.
SOURCES = (
    r"§|Figure \d|Table \d|Eq\. \d|et al\.|Fast R-CNN|torchvision|detectron2|Matterport"
    "|COCO|ImageNet|our convention"
)

# Fields that are lengths in an image, in pixels or in units of pixel values.
PIXELS = {
    *("image_min_side", "image_max_side", "padding_multiple", "pixel_mean", "pixel_std"),
    *("anchor_sizes", "canonical_roi_size", "rpn_min_size", "box_min_size"),
}


@pytest.mark.parametrize("field", dataclasses.fields(MaskRCNNConfig), ids=lambda field: field.name)
def test_every_field_says_what_it_does_its_unit_and_its_source(field):
    text = field_docs()[field.name]
    assert re.match(r"[A-Z0-9].{20,}[.]$", text), "a sentence"
    assert re.search(SOURCES, text), "a section of a paper, or whose convention it is"
    if field.name in PIXELS:
        assert "pixel" in text
    if field.name.endswith(("_batch", "_nms", "_proposals", "_per_image")):
        assert " per image" in text or " per level" in text or field.type is bool
    for choice in choices(field.name):
        assert f'"{choice}"' in text or field.name == "backbone", "what each choice means"


def test_field_docs_can_do_without_the_source_file(monkeypatch):
    def no_source(thing):
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", no_source)
    assert field_docs() == {}
