"""What a newcomer reads: the help, and the messages for a wrong command line."""

import pathlib
import re
import shlex

import pytest
from absl import flags

from keras_maskrcnn import cli
from keras_maskrcnn.cli import usage

NEEDED = {
    "train": ["images", "annotations", "preset", "output"],
    "evaluate": ["model", "images", "annotations", "output"],
    "compare": ["annotations", "output"],
    "propose": ["model", "images", "annotations", "output"],
    "predict": ["model", "input", "output"],
    "explain": ["model", "images", "annotations", "output"],
    "export": ["model", "output"],
    "import-weights": ["source", "preset", "checkpoint", "output"],
    "validate": ["images", "annotations"],
    "convert": ["format", "images", "annotations", "output"],
    "environment": [],
}


def refusal(argv, capsys):
    """Returns the one line with which a command line is refused."""
    assert cli.run(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if NEEDED[name]])
def test_flags_that_must_be_given_come_first_in_help_and_are_named_if_missing(command, capsys):
    line = refusal([command], capsys)
    names = ", ".join(f"--{name}" for name in NEEDED[command])
    assert line.startswith(f"keras-maskrcnn {command}: {names} must be given")
    assert cli.run([command, "--help"]) == 0
    required, others = capsys.readouterr().out.split("Optional flags:")
    heads = [row.strip() for row in required.splitlines() if row.startswith("  --")]
    assert [head.split("=")[0] for head in heads] == [f"--{name}" for name in NEEDED[command]]
    assert "--[no]quiet" in others


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train", "--lr=0.1"], "no flag --lr; did you mean --learning_rate?"),
        (["predict", "--images=x"], "no flag --images; did you mean --input?"),
        (["predict", "--weights=x"], "no flag --weights; did you mean --model?"),
        (["evaluate", "--input=x"], "no flag --input; did you mean --images?"),
        (["evaluate", "--image_size=9"], "no flag --image_size; did you mean --image_min_side?"),
        (["train", "--batch-size=3"], "no flag --batch-size; did you mean --batch_size?"),
        (["train", "--imagse=x"], "no flag --imagse; did you mean --images?"),
        (["train", "--num_classes=3"], "no flag --num_classes; the classes come from --ann"),
        (["evaluate", "--num_classes=3"], "no flag --num_classes; the classes come from the m"),
        (["train", "--zzz"], "no flag --zzz; --help lists all flags."),
        (["train", "images"], "unexpected 'images'; write flags as --flag=value."),
        (["train", "--noresume=3"], "--noresume=3 does not take an argument"),
        (["train", "--resume=maybe"], "--resume: true or false is expected. Received: resume='m"),
    ],
)
def test_a_wrong_flag_is_named_with_what_was_meant(argv, words, capsys):
    assert words in refusal(argv, capsys)


def test_an_unknown_command_is_named_and_the_others_are_listed(capsys):
    assert cli.run(["fly"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "keras-maskrcnn: there is no command 'fly'."
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in cli.COMMANDS)
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("keras-maskrcnn 0.")


def documented():
    """Yields (file, argv) of every command in the documents; a line may continue after a \\."""
    root = pathlib.Path(__file__).parents[2]
    paths = [root / "README.md", *root.glob("docs/*.md"), *root.glob("examples/**/*.md")]
    for path in sorted(paths):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        text = re.sub(r"^```text$.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)  # output
        for line in re.findall(r"^\s*(?:\$ )?keras-maskrcnn +(.*)$", text, re.MULTILINE):
            argv = shlex.split(line, comments=True)
            if argv != ["--help"]:
                yield path.name, argv


def test_every_command_of_the_documents_is_right_usage():
    commands = list(documented())
    assert {argv[0] for _, argv in commands} == set(cli.COMMANDS)
    for name, argv in commands:
        values = flags.FlagValues()
        cli.COMMANDS[argv[0]][1](values)
        try:
            usage.parse(values, [word for word in argv if word != "..."])
        except usage.UsageError as error:
            short = "..." in argv and "must be given" in str(error)
            assert short, f"{name}: {' '.join(argv)}: {error}"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "usage"),
        (["fly"], "usage"),
        (["train", "--imagse=x"], "imagse"),
        (["export", "--output=x"], "model"),
        (["export", "--model=x", "--output=y", "z"], "unexpected 'z'"),
        (["evaluate", "--max_detections=many"], "max_detections"),
        (["train", "--optimizer=adam"], "<sgd|adamw>"),
    ],
)
def test_bad_usage_has_status_2(argv, words, capsys):
    assert cli.run(argv) == 2
    assert words in capsys.readouterr().err


def test_help_names_every_flag(capsys):
    assert cli.run(["--help"]) == 0
    assert cli.run(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("predict", "--images", "--roi_batch", "resume"))
