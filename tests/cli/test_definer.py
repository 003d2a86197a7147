"""A number out of range is refused before anything is read; the line has flag, value and range."""

import math

import pytest
from absl import flags

from keras_maskrcnn import cli
from keras_maskrcnn.cli.definer import Number

# By command: flags that take whole numbers, and the least value of each.
COUNTS = {
    "train": {
        "epochs": 1,
        "steps": 1,
        "batch_size": 1,
        "image_size": 1,
        "accumulate_steps": 1,
        "eval_every": 1,
        "save_every": 1,
        "max_detections": 11,
        "seed": 0,
    },
    "evaluate": {"max_detections": 11},
    "export": {"max_pixels": 1, "batch_size": 1},
    "import-weights": {"num_classes": 1},
    "validate": {"image_size": 1, "max_instances": 1},
    "convert": {"label_divisor": 1},
}
RATES = {
    "train": ["learning_rate", "clip_norm", "ema_momentum", "layer_decay"],
    "predict": ["draw_threshold"],
}


@pytest.mark.parametrize(
    ("command", "name", "least"), [(c, n, least) for c in COUNTS for n, least in COUNTS[c].items()]
)
def test_a_count_below_its_least_is_refused(command, name, least, capsys):
    for value in (least - 1, -5, "1.5", "many", "nan", "1e3"):
        assert cli.run([command, f"--{name}={value}"]) == 2
        line = capsys.readouterr().err
        assert f"--{name}: a whole number " in line and f"{least} " in line
        assert f"Received: {name}='{value}'." in line


@pytest.mark.parametrize(("command", "name"), [(c, n) for c in RATES for n in RATES[c]])
def test_a_rate_is_finite_and_not_negative(command, name, capsys):
    for value in ("-0.1", "nan", "inf", "-inf", "high"):
        assert cli.run([command, f"--{name}={value}"]) == 2
        line = capsys.readouterr().err
        assert f"--{name}: a number " in line and f"Received: {name}='{value}'." in line


def test_every_number_of_every_command_has_a_range_or_is_a_field_of_the_config():
    for _, define in cli.COMMANDS.values():
        values = flags.FlagValues()
        define(values)
        for name in values:
            parser = values[name].parser
            if isinstance(parser, Number) and not hasattr(values[name], "of_config"):
                assert parser.low > -math.inf, name
