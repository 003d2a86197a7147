import dataclasses
import re

import pytest

from keras_maskrcnn.config import MaskRCNNConfig
from keras_maskrcnn.config_rules import COMBINATIONS, RULES


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
        ("in_channels", 33),
        ("image_dtype", "int8"),
        ("pixel_max", -1.0),
        ("stochastic_depth", 1.0),
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
        ("nms_across_classes", 0),
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
        ("class_thresholds", (0.5, 1.5)),
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
        ("mask_loss", ""),
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


# Values that break each row of COMBINATIONS, in the order of the table: the field, the values, and
# the expected value in the error.
CONTRADICTIONS = [
    ("class_names", {"class_names": ("a",)}, "empty or 80 long"),
    ("category_ids", {"category_ids": (1, 2)}, "empty or 80 long"),
    ("class_thresholds", {"class_thresholds": (0.5,)}, "empty or 80 long"),
    ("category_ids", {"num_classes": 2, "category_ids": (7, 7)}, "distinct"),
    (
        "pixel_mean",
        {"pixel_mean": (0.0, 0.0)},
        "as many numbers as in_channels (3); for one channel, 3 numbers repeat it",
    ),
    ("pixel_std", {"pixel_std": (1.0, 1.0)}, "as many numbers as pixel_mean"),
    (
        "pixel_max",
        {"image_dtype": "uint16", "pixel_max": 255},
        "above 255 with image_dtype='uint16'",
    ),
    ("pixel_max", {"pixel_max": 4095}, "at most 255 with image_dtype='uint8'"),
    ("box_delta_weights", {"box_delta_weights": (1.0, 1.0, 1.0)}, "4 numbers"),
    ("anchor_sizes", {"anchor_sizes": ()}, "positive"),
    ("anchor_sizes", {"anchor_sizes": (1.0,) * 101}, "at most 100 numbers"),
    ("anchor_ratios", {"anchor_ratios": ()}, "positive"),
    ("anchor_ratios", {"anchor_ratios": (1.0,) * 101}, "at most 100 numbers"),
    ("image_max_side", {"image_max_side": 799}, "≥ image_min_side"),
    ("rpn_negative_iou", {"rpn_negative_iou": 0.8}, "at most rpn_positive_iou"),
    ("anchor_sizes", {"anchor_sizes": (32.0, 64.0)}, "5 sizes, one for each of P2..P6"),
    (
        "padding_multiple",
        {"padding_multiple": 16},
        "a multiple of 32 with neck='fpn' and backbone='resnet50'",
    ),
    (
        "anchor_rule",
        {"neck": "c5", "anchor_rule": "torchvision"},
        "'detectron2' with neck='c5'",
    ),
    (
        "mask_pool_size",
        {"neck": "c4", "mask_pool_size": 14},
        "box_pool_size (7) with neck='c4'",
    ),
    (
        "proposals",
        {"task": "proposals", "proposals": "precomputed"},
        "'joint' with task='proposals'",
    ),
    ("roi_pooling", {"roi_op": "pool", "roi_pooling": "average"}, "'max' with roi_op='pool'"),
    (
        "sampling_ratio",
        {"roi_pooling": "max", "sampling_ratio": 0},
        "positive with roi_pooling='max'",
    ),
    (
        "mask_loss",
        {"mask_loss": "softmax", "class_agnostic_masks": True},
        "'sigmoid' with class_agnostic_masks",
    ),
    (
        "neck",
        {"backbone": "xception", "neck": "dc5", "anchor_sizes": (8.0,)},
        "'fpn', 'simple_fpn' or 'c5' with backbone='xception'",
    ),
    ("neck", {"backbone": "vitdet_base"}, "'simple_fpn' with backbone='vitdet_base'"),
    (
        "norm",
        {"backbone": "densenet121", "norm": "group"},
        "'frozen_batch' or 'batch' with backbone='densenet121'",
    ),
    (
        "backbone_width",
        {"backbone": "densenet121", "backbone_width": 8},
        "64 with backbone='densenet121'",
    ),
    ("stochastic_depth", {"stochastic_depth": 0.1}, "0 with backbone='resnet50'"),
    (
        "backbone_width",
        {"backbone": "resnext50_32x4d", "backbone_width": 8},
        "a multiple of 16 with this ResNeXt",
    ),
    (
        "backbone_width",
        {"backbone": "resnext101_32x8d", "backbone_width": 4},
        "a multiple of 8 with this ResNeXt",
    ),
]


@pytest.mark.parametrize(("field", "fields", "expected"), CONTRADICTIONS)
def test_fields_that_contradict_each_other_are_refused(field, fields, expected):
    with pytest.raises(ValueError, match=f"^{field} must be {re.escape(expected)}. Received: "):
        MaskRCNNConfig(**fields)


def test_every_combination_of_fields_is_tried():
    # A new row of the table needs a line in the list above.
    assert [field for field, *_ in CONTRADICTIONS] == [field for field, *_ in COMBINATIONS]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("detections_per_image", 10**9, "at most 10000"),
        ("image_max_side", 10**9, "at most 20000"),
        ("test_proposals", 2**40, "at most 50000"),
        ("roi_batch", 10**9, "at most 50000"),
        ("backbone_width", 8192, "at most 512"),  # res5 would need 150 GB
        ("box_head_units", 65_536, "at most 16384"),
        ("pixel_mean", "abc", "a list of numbers"),
        ("pixel_mean", (1.0, float("nan"), 1.0), "finite"),
        ("pixel_std", (1.0, float("inf"), 1.0), "at most 1000000"),
        ("pixel_std", (1.0, 1e-300, 1.0), "at least 1e-06"),  # 0 in float32
        ("category_ids", ("a",), "a list of whole numbers"),
        ("category_ids", (2**63,), "in -9223372036854775808..9223372036854775807"),
        ("class_names", (1,), "a list of strings"),
        ("class_names", None, "a list of strings"),
        ("score_threshold", 50, "in 0..1"),
        ("score_threshold", "0.5", "a number"),
        ("score_threshold", float("nan"), "in 0..1"),
        ("box_beta", float("inf"), "at most 1000000"),
        ("anchor_sizes", 32.0, "a list of numbers"),
        ("anchor_sizes", (1.0,) * 101, "at most 100 numbers"),
        ("backbone", ["resnet50"], "a string"),
        ("roi_aligned", "false", "true or false"),
    ],
)
def test_values_of_another_type_or_beyond_all_use_are_refused(field, value, expected):
    fields = {"num_classes": 1, field: value}
    with pytest.raises(ValueError, match=f"^{field} must be {expected}") as caught:
        MaskRCNNConfig.from_fields(fields)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mobilenet", "'mobilenetv2' or 'mobilenetv3_large'"),
        ("EfficientNetB0", "'efficientnetv2_b0' or .*"),
        ("ConvNeXt", "'convnext_tiny' or 'convnext_small' or 'convnext_base'"),
        ("resnet-50", "'resnet50' or 'resnet50v2'"),
        ("vit", "'vitdet_base' or .*"),
        ("", "'resnet18' or 'resnet34' or 'resnet50'"),
        ("hrnet_w48" * 99, "'resnet18' or .*"),
    ],
)
def test_an_unknown_backbone_gets_the_names_near_it(name, near):
    words = f"^backbone must be a name of docs/backbones.md, such as {near}. Received: backbone="
    with pytest.raises(ValueError, match=words) as caught:
        MaskRCNNConfig(backbone=name)
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
