"""The help text of a command, and the messages for a wrong command line."""

import difflib
import re
import reprlib
import textwrap
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from absl import flags

# Other tools' names for our flags. The hint names the first flag that the command has.
_ALIASES = {
    "lr": ("learning_rate",),
    "base_lr": ("learning_rate",),
    "rate": ("learning_rate",),
    "batch": ("batch_size",),
    "bs": ("batch_size",),
    "num_epochs": ("epochs",),
    "max_steps": ("steps",),
    "iterations": ("steps",),
    "max_iter": ("steps",),
    "imgsz": ("image_size", "image_min_side"),
    "img_size": ("image_size", "image_min_side"),
    "size": ("image_size", "image_min_side"),
    "image_size": ("image_min_side",),
    "images": ("input",),
    "image": ("images", "input"),
    "image_dir": ("images", "input"),
    "img_dir": ("images", "input"),
    "data": ("images", "input"),
    "dataset": ("images", "input"),
    "source": ("input", "images"),
    "input": ("images", "checkpoint", "model"),
    "annotation": ("annotations",),
    "ann": ("annotations",),
    "ann_file": ("annotations",),
    "json": ("annotations",),
    "labels": ("annotations",),
    "val": ("val_annotations",),
    "out": ("output",),
    "out_dir": ("output",),
    "output_dir": ("output",),
    "save_dir": ("output",),
    "o": ("output",),
    "weights": ("model", "checkpoint"),
    "pretrained": ("weights",),
    "checkpoint": ("weights", "model"),
    "ckpt": ("weights", "model", "checkpoint"),
    "model": ("weights", "preset", "checkpoint"),
    "config": ("preset",),
    "threshold": ("score_threshold",),
    "score": ("score_threshold",),
    "conf": ("score_threshold",),
    "confidence": ("score_threshold",),
    "iou": ("nms_iou",),
    "gpus": ("devices",),
    "device": ("devices",),
    "amp": ("dtype_policy",),
    "fp16": ("dtype_policy",),
    "dtype": ("dtype_policy", "precision"),
    "precision": ("dtype_policy",),
    "force": ("overwrite",),
    "f": ("overwrite",),
    "q": ("quiet",),
    "silent": ("quiet",),
}
_CLASSES = ("num_classes", "classes", "class_names", "nc", "category_ids")
_WIDTH = 98


class UsageError(Exception):
    """A wrong command line; the message is one line."""


def parse(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Parses the flags of a command.

    Args:
        values: absl's FlagValues, which define the flags.
        argv: list of str. The command and its flags.

    Raises:
        UsageError: if a flag is unknown, missing or has a wrong value, or if a word is not a flag
            and the command takes no words.
    """
    takers = [name for name in values if getattr(values[name], "takes_words", False)]
    values.set_gnu_getopt(bool(takers))  # words may come before flags
    try:
        rest = values(argv)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        raise UsageError(f"there is no flag --{name}{_hint(name, values)}") from error
    except (flags.Error, ValueError) as error:  # ValueError: --noquiet=3
        raise UsageError(_plain(str(error))) from error
    if rest[1:] and takers:
        values[takers[0]].value = list(values[takers[0]].value or []) + rest[1:]
    elif rest[1:]:
        raise UsageError(f"unexpected {rest[1]!r}; write flags as --flag=value.")
    missing = [f"--{n}" for n in values if is_required(values[n]) and not values[n].value]
    if missing:
        raise UsageError(f"{', '.join(missing)} must be given; see --help.")


def is_required(flag: "flags.Flag[Any]") -> bool:
    """Returns whether `Definer` defined a flag as required."""
    return getattr(flag, "must_be_given", False)


def given_for_format(
    options: flags.FlagValues, names: Iterable[str], taken: Container[str]
) -> dict[str, Any]:
    """Returns the given flags among those that only some formats have, as a dict.

    Args:
        options: the flags' values, with `format`.
        names: names of the flags that only some formats have.
        taken: container of the names that this format has.

    Raises:
        ValueError: if a flag was given that this format does not have.
    """
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in taken:
            raise ValueError(
                f"--format={options.format} has no flag --{name}. Received: {name}={value!r}."
            )
    return given


def _hint(name, values):
    plain = name.replace("-", "_").lower()
    known = list(values)
    meant = [other for other in _ALIASES.get(plain, ()) if other in known][:1]
    if plain in known:
        meant = [plain]
    if not meant and plain in _CLASSES:
        where = "--annotations" if "preset" in known else "the model"
        return f"; the classes come from {where}."
    meant = meant or difflib.get_close_matches(plain, known, n=1)
    return f"; did you mean --{meant[0]}?" if meant else "; --help lists all flags."


def _plain(message):
    """Rewords absl's message about a flag's value."""
    found = re.fullmatch(r"flag --(\w+)=(.*?): (.*)", " ".join(message.split()))
    if not found:
        return message
    name, value, reason = found.groups()
    if "Non-boolean" in reason:
        reason = "true or false is expected"
    return f"--{name}: {reason}. Received: {name}={reprlib.repr(value)}."


def first_line(command: Callable[..., Any]) -> str:
    """Returns the first line of a command's docstring, which says what it does."""
    return (command.__doc__ or "").partition("\n")[0]


def help_text(name: str, command: Callable[..., Any], values: flags.FlagValues) -> str:
    """Returns what `COMMAND --help` prints: required flags, optional flags, config fields."""
    titles = ("Required flags:", "Optional flags:", "Optional flags, one per config field:")
    groups: dict[str, list[str]] = {title: [] for title in titles}
    for flag_name in values:
        flag = values[flag_name]
        place = 0 if is_required(flag) else 2 if getattr(flag, "of_config", False) else 1
        groups[titles[place]].append(_describe(flag))
    lines = [f"keras-maskrcnn {name}: {first_line(command)}"]
    for title, described in groups.items():
        lines += ["", title, *described] if described else []
    return "\n".join(lines)


def _describe(flag):
    head = f"  --{'[no]' if flag.boolean else ''}{flag.name}"
    kinds = {"int": "NUMBER", "float": "NUMBER", "comma separated list of strings": "A,B,..."}
    choices = getattr(flag, "choices", None) or getattr(flag.parser, "enum_values", None)
    if choices:
        head += "=" + "|".join(choice or '""' for choice in choices)
    elif not flag.boolean:
        head += f"={kinds.get(flag.flag_type(), 'TEXT')}"
    text = re.sub(r"^<[^>]*>: ", "", flag.help)  # absl repeats the choices, which `head` has
    if flag.default is not None and not flag.boolean and not is_required(flag):
        text += f" Default: {flag.default}."
    indent = " " * 6
    return f"{head}\n" + textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
