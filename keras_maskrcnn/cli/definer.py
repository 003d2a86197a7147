"""Defines a command's flags: absl flags with ranges, some of them required."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from keras_maskrcnn.data.orientation import ORIENTATIONS

Limit = int | float  # inside Definer, `float` is a method


if TYPE_CHECKING:
    _Parser = flags.ArgumentParser[int | float]
else:
    _Parser = flags.ArgumentParser  # in absl 1.4, which Colab has, it takes no [...]


class Number(_Parser):
    """Parses a number in a range.

    absl's parsers accept NaN, and their messages use Python's terms.

    Args:
        kind: int or float.
        low, high: numbers. The range; both ends are allowed.
    """

    def __init__(
        self, kind: type[int] | type[float], low: float = -math.inf, high: float = math.inf
    ) -> None:
        super().__init__()
        self.kind, self.low, self.high = kind, low, high
        self.syntactic_help = f"{'a whole number' if kind is int else 'a number'}{self._range()}"

    def parse(self, argument: str | int | float) -> int | float:
        """Returns the number; raises ValueError if the text is no number or is out of range."""
        try:
            value = self.kind(argument)
            taken = math.isfinite(value) and self.low <= value <= self.high
        except (ValueError, TypeError, OverflowError):
            taken = False
        if not taken:
            raise ValueError(f"{self.syntactic_help} is expected")
        return value

    def flag_type(self) -> str:
        return self.kind.__name__

    def _range(self):
        if self.high < math.inf:
            return f" from {self.low} to {self.high}"
        return f" of at least {self.low}" if self.low > -math.inf else ""


class Definer:
    """Defines the flags of one command; commands do not share flags.

    Each method takes a flag's name, its default (None: not given) and its help text.

    Args:
        values: absl's FlagValues.
    """

    def __init__(self, values: flags.FlagValues) -> None:
        self._values = values
        self.boolean("quiet", False, "Print errors only: no progress bars, warnings or logs.")

    def _add(self, flag, required=False):
        flags.DEFINE_flag(flag, self._values)
        flag.must_be_given = required
        return flag

    def _parsed(self, parser, name, default, text, required=False):
        flag = flags.Flag(parser, flags.ArgumentSerializer(), name, default, text)
        return self._add(flag, required)

    def string(
        self, name: str, default: str | None, text: str, required: bool = False
    ) -> "flags.Flag[Any]":
        """Defines a flag that takes a text."""
        return self._parsed(flags.ArgumentParser(), name, default, text, required)

    def integer(
        self,
        name: str,
        default: int | None,
        text: str,
        low: Limit = -math.inf,
        high: Limit = math.inf,
    ) -> "flags.Flag[Any]":
        """Defines a flag that takes a whole number in a range."""
        return self._parsed(Number(int, low, high), name, default, text)

    def float(
        self,
        name: str,
        default: Limit | None,
        text: str,
        low: Limit = -math.inf,
        high: Limit = math.inf,
    ) -> "flags.Flag[Any]":
        """Defines a flag that takes a finite number in a range."""
        return self._parsed(Number(float, low, high), name, default, text)

    def list(self, name: str, default: Sequence[str] | None, text: str) -> "flags.Flag[Any]":
        """Defines a flag that takes texts separated by commas."""
        return self._parsed(flags.ListParser(), name, default, text)

    def words(self, name: str, text: str) -> "flags.Flag[Any]":
        """Defines a list that may also be given as words: COMMAND A B --flag=value."""
        flag: Any = self.list(name, [], text)
        flag.takes_words = True
        return flag

    def strings(self, name: str, text: str) -> "flags.Flag[Any]":
        """Defines a flag that takes a text and may be repeated; its value is a list."""
        parser: Any = flags.ArgumentParser()  # in absl 1.4 it takes no [...]
        flag: Any = flags.MultiFlag(parser, flags.ArgumentSerializer(), name, [], text)
        return self._add(flag)

    def enum(
        self,
        name: str,
        default: str | None,
        choices: Iterable[str],
        text: str,
        required: bool = False,
    ) -> "flags.Flag[Any]":
        """Defines a flag that takes one of some texts."""
        return self._add(flags.EnumFlag(name, default, text, list(choices)), required)

    def boolean(self, name: str, default: bool | None, text: str) -> "flags.Flag[Any]":
        """Defines a flag that is written --name or --noname."""
        return self._add(flags.BooleanFlag(name, default, text))

    def crowds(self) -> "flags.Flag[Any]":
        """Defines --crowds, for every command that reads annotations."""
        return self.enum(
            "crowds",
            "drop",
            ["drop", "ignore", "objects"],
            "Use of annotations with iscrowd=1. drop: they do not count as objects. ignore: in "
            "training, nothing in them counts as background either. objects: they are objects "
            "like all others.",
        )

    def orientation(self, default: str | None, text: str = "") -> "flags.Flag[Any]":
        """Defines --orientation, for every command that reads image files.

        Args:
            default: "ignore", "apply" or None.
            text: str. A sentence about the default.
        """
        return self.enum(
            "orientation",
            default,
            list(ORIENTATIONS),
            "Use of the orientation tag (EXIF) of image files. ignore: the pixels as stored. "
            "apply: turned upright. "
            f"{text or 'Default: ignore, unless the json says apply in its info.'}",
        )

    def on_error(self, others: str) -> "flags.Flag[Any]":
        """Defines --on_error, for a command that leaves out unreadable images and goes on.

        Args:
            others: str. A sentence that says what happens to the other images.
        """
        return self.enum(
            "on_error",
            "raise",
            ["raise", "skip"],
            f"Exit status if an image cannot be read: 1 (raise) or 0 (skip). {others}",
        )
