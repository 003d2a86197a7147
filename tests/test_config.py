import dataclasses
import inspect
import json
import re

import pytest

from keras_maskrcnn import data
from keras_maskrcnn.config import MaskRCNNConfig, field_docs
from keras_maskrcnn.config_rules import RULES, choices
from keras_maskrcnn.presets import PRESETS, preset_config


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "keypoints"),
        ("num_classes", 0),
        ("num_classes", 2.5),
        ("num_classes", True),
        ("class_names", ("a",)),
        ("category_ids", (1, 2)),
        ("image_min_side", 0),
        ("image_max_side", 799),  # below image_min_side
        ("pixel_mean", (0.0, 0.0)),
        ("pixel_std", (1.0, 1.0, 0.0)),
        ("backbone", "resnet7"),
        ("norm", "layer"),
        ("frozen_stages", 6),
        ("frozen_stages", -1),
        ("fpn_channels", 0),
        ("head_norm", "frozen_batch"),
        ("anchor_sizes", (32.0, 64.0)),
        ("anchor_sizes", (32.0, 64.0, 128.0, 256.0, 0.0)),
        ("anchor_ratios", ()),
        ("rpn_positive_iou", 1.1),
        ("rpn_negative_iou", 0.8),  # above rpn_positive_iou
        ("rpn_batch", 0),
        ("rpn_positive_fraction", 1.5),
        ("rpn_nms_iou", -0.1),
        ("train_pre_nms", 0),
        ("train_proposals", 0),
        ("test_pre_nms", 0),
        ("test_proposals", 0),
        ("roi_batch", 0),
        ("roi_positive_fraction", -0.1),
        ("roi_positive_iou", 2),
        ("canonical_roi_size", 0.0),
        ("box_pool_size", 0),
        ("mask_pool_size", 0),
        ("sampling_ratio", -1),
        ("resize_rule", "pillow"),
        ("backbone_width", 0),
        ("stride_in_1x1", "no"),
        ("stem_pool_same", 0),
        ("norm_epsilon", -1.0),
        ("anchor_rule", ""),
        ("rpn_head_convs", 0),
        ("rpn_head_channels", -1),
        ("rpn_joint_nms", "yes"),
        ("rpn_loss_divisor", "batch"),
        ("rpn_min_size", -1.0),
        ("roi_loss_divisor", ""),
        ("roi_level_rule", "nearest"),
        ("roi_aligned", 1),
        ("one_class_per_roi", 1),
        ("box_head_convs", -1),
        ("box_head_layers", -1),
        ("soft_mask_targets", 0.5),
        ("box_min_size", -1.0),
        ("mask_paste", "opencv"),
        ("box_delta_weights", (1.0, 1.0, 1.0)),
        ("box_delta_weights", (0.0, 1.0, 1.0, 1.0)),
        ("box_head_units", 0),
        ("mask_head_convs", -1),
        ("mask_head_channels", 0),
        ("head_init", "zeros"),
        ("rpn_box_beta", -1.0),
        ("box_beta", -1.0),
        ("score_threshold", 1.5),
        ("nms_iou", float("nan")),
        ("detections_per_image", 0),
        ("proposals", "none"),
        ("padding_multiple", 16),
        ("neck", "p3"),
        ("roi_op", "mean"),
        ("roi_pooling", "sum"),
        ("res5_stride", 0),
        ("mask_predictor", "conv"),
        ("mask_mlp_layers", 0),
        ("mask_mlp_units", 0),
        ("class_agnostic_masks", 1),
        ("mask_loss", "dice"),
    ],
)
def test_error_names_the_bad_field(field, value):
    with pytest.raises(ValueError, match=f"^{field} must be .* Received: {field}="):
        MaskRCNNConfig(**{field: value})


def test_every_number_of_the_model_is_validated():
    # A new field needs a line in the list above.
    (parametrize,) = test_error_names_the_bad_field.pytestmark
    tried = {field for field, _ in parametrize.args[1]}
    assert tried == {field.name for field in dataclasses.fields(MaskRCNNConfig)}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("anchor_rule", {"neck": "c5", "anchor_rule": "torchvision"}),
        ("mask_pool_size", {"neck": "c4", "mask_pool_size": 14}),
        ("proposals", {"task": "proposals", "proposals": "precomputed"}),
        ("roi_pooling", {"roi_op": "pool", "roi_pooling": "average"}),
        ("sampling_ratio", {"roi_pooling": "max", "sampling_ratio": 0}),
        ("mask_loss", {"mask_loss": "softmax", "class_agnostic_masks": True}),
        ("backbone_width", {"backbone": "resnext50_32x4d", "backbone_width": 8}),
    ],
)
def test_fields_that_contradict_each_other_are_refused(field, fields):
    with pytest.raises(ValueError, match=f"^{field} must be .* with"):
        MaskRCNNConfig(**fields)


def test_category_ids_are_distinct():
    with pytest.raises(ValueError, match="category_ids must be distinct"):
        MaskRCNNConfig(num_classes=2, category_ids=(7, 7))


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
    ("field", "value", "expected"),
    [
        ("detections_per_image", 10**9, "at most 10000"),
        ("image_max_side", 10**9, "at most 20000"),
        ("test_proposals", 2**40, "at most 50000"),
        ("roi_batch", 10**9, "at most 50000"),
        ("backbone_width", 8192, "at most 512"),  # res5 would need 150 GB
        ("box_head_units", 65_536, "at most 16384"),
        ("pixel_mean", "abc", "3 numbers"),
        ("pixel_mean", (1.0, float("nan"), 1.0), "finite"),
        ("pixel_std", (1.0, float("inf"), 1.0), "at most 1000000"),
        ("pixel_std", (1.0, 1e-300, 1.0), "at least 1e-06"),  # 0 in float32
        ("category_ids", ("a",), "a list of whole numbers"),
        ("category_ids", (2**63,), "in -9223372036854775808..9223372036854775807"),
        ("class_names", (1,), "a list of texts"),
        ("class_names", None, "a list of texts"),
        ("score_threshold", 50, "in 0..1"),
        ("score_threshold", "0.5", "a number"),
        ("score_threshold", float("nan"), "in 0..1"),
        ("box_beta", float("inf"), "at most 1000000"),
        ("anchor_sizes", 32.0, "a list of numbers"),
        ("anchor_sizes", (1.0,) * 101, "at most 100 numbers"),
        ("backbone", ["resnet50"], "a text"),
        ("roi_aligned", "false", "true or false"),
    ],
)
def test_values_of_another_type_or_beyond_all_use_are_refused(field, value, expected):
    fields = {"num_classes": 1, field: value}
    with pytest.raises(ValueError, match=f"^{field} must be {expected}") as caught:
        MaskRCNNConfig.from_fields(fields)
    assert len(str(caught.value)) < 300


JSON_VALUES = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2.5,
    10**9,
    2**40,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "abc",
    "x" * 10**5,
    [],
    {},
    {"a": 1},
    [1],
    [1, 2, 3],
    ["a", "b", "c"],
    [None] * 4,
    [[1]] * 3,
    [float("nan")] * 5,
    [True] * 3,
]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(MaskRCNNConfig)])
def test_any_json_value_is_taken_or_named(field):
    for value in JSON_VALUES:
        try:
            MaskRCNNConfig(**{field: value})
        except ValueError as error:
            assert "must be" in str(error) and len(str(error)) < 400  # noqa: PT017


def test_every_field_has_rules():
    assert list(RULES) and set(RULES) == {f.name for f in dataclasses.fields(MaskRCNNConfig)}


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


# What a field's docstring names in brackets.
SOURCES = (
    r"§|Figure \d|Table \d|Eq\. \d|He et al|Fast R-CNN|torchvision|detectron2|Matterport"
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
