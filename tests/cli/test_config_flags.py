"""Flags for the config's fields: help, choices, values."""

import dataclasses
import re

import pytest
from absl import flags

from keras_maskrcnn import cli
from keras_maskrcnn.cli.config_flags import DATA_FIELDS, config_overrides
from keras_maskrcnn.config import MaskRCNNConfig, field_docs
from keras_maskrcnn.config_rules import choices
from keras_maskrcnn.presets import preset_config

FIELDS = [field.name for field in dataclasses.fields(MaskRCNNConfig)]


def help_of(command, capsys):
    """Returns a dict of each flag's name to its text in --help, as one line."""
    assert cli.run([command, "--help"]) == 0
    parts = re.split(r"\n  --(?:\[no\])?(\w+)", capsys.readouterr().out)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


def test_help_of_train_says_what_each_field_does_its_choices_and_its_default(capsys):
    texts = help_of("train", capsys)
    for name in set(FIELDS) - {*DATA_FIELDS, "proposals"}:
        assert field_docs()[name] in texts[name]
        assert " Default: the preset's value (mask_rcnn_resnet50_fpn: " in texts[name]
        if choices(name):
            names = "|".join(choice or '""' for choice in choices(name))
            assert texts[name].startswith(f"={names} ")


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("rpn_batch", "256"),
        ("head_norm", '""'),
        ("anchor_sizes", "32,64,128,256,512"),
        ("roi_aligned", "true"),
        ("backbone", "resnet50"),
        ("nms_iou", "0.5"),
    ],
)
def test_help_writes_a_default_as_the_flag_takes_it(name, default, capsys):
    assert help_of("train", capsys)[name].endswith(f"(mask_rcnn_resnet50_fpn: {default}).")


def test_help_of_a_command_with_a_model_says_that_the_model_gives_the_defaults(capsys):
    texts = help_of("predict", capsys)
    assert texts["nms_iou"].endswith(f"{field_docs()['nms_iou']} Default: the model's value.")


def test_help_names_no_default_that_the_preset_lacks():
    assert preset_config("mask_rcnn_resnet50_fpn") == MaskRCNNConfig()


def test_a_value_that_is_none_of_the_choices_is_bad_input(tmp_path, capsys):
    argv = ["import-weights", "--source=torchvision", "--preset=mask_rcnn_resnet50_fpn"]
    argv += [f"--checkpoint={__file__}", f"--output={tmp_path / 'x.keras'}", "--norm=layer"]
    assert cli.run(argv) == 1
    assert "norm must be one of 'frozen_batch', 'batch', 'group', ''" in capsys.readouterr().err


def test_fields_that_are_given_override_and_others_do_not():
    values = flags.FlagValues()
    cli.COMMANDS["train"][1](values)
    given = ["--norm=", "--anchor_sizes=8,16.5", "--noroi_aligned", "--roi_batch=64", "--nms_iou=1"]
    values(["train", *given])
    assert config_overrides(values, leave_out=("proposals",)) == {
        "norm": "",
        "anchor_sizes": (8.0, 16.5),
        "roi_aligned": False,
        "roi_batch": 64,
        "nms_iou": 1.0,
    }


def test_a_list_with_a_word_that_is_no_number_names_its_field(capsys):
    argv = ["import-weights", "--source=torchvision", "--preset=mask_rcnn_resnet50_fpn"]
    argv += [f"--checkpoint={__file__}", "--output=x.keras", "--anchor_sizes=8,big"]
    assert cli.run(argv) == 1
    line = capsys.readouterr().err
    assert (
        "anchor_sizes must be numbers separated by commas. Received: anchor_sizes='8,big'" in line
    )


@pytest.mark.parametrize(("text", "value"), [("none", ()), ("", ()), ("0.5,0.25", (0.5, 0.25))])
def test_a_list_may_be_empty(text, value):
    values = flags.FlagValues()
    cli.COMMANDS["train"][1](values)
    values(["train", f"--class_thresholds={text}"])
    assert config_overrides(values, leave_out=("proposals",)) == {"class_thresholds": value}
