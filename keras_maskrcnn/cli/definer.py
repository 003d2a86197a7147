"""How a command defines its flags: absl's, with ranges, and with flags that must be given."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from absl import flags

Limit = int | float  # `float` is a method of Definer


class Number(flags.ArgumentParser[int | float]):
    """Parses a number in a range: absl's own parsers take NaN, and speak Python.

    Args:
        kind: int or float.
        low, high: numbers. The range, with both ends.
    """

    def __init__(
        self, kind: type[int] | type[float], low: float = -math.inf, high: float = math.inf
    ) -> None:
        super().__init__()
        self.kind, self.low, self.high = kind, low, high
        self.syntactic_help = f"{'a whole number' if kind is int else 'a number'}{self._range()}"

    def parse(self, argument: str | int | float) -> int | float:
        """Returns the number; ValueError if it is none, or out of range."""
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
    """Defines flags in a set of their own, so that commands do not share them.

    Each method takes a flag's name, its default (None: not given) and what --help says of it.

    Args:
        values: absl's FlagValues.
    """

    def __init__(self, values: flags.FlagValues) -> None:
        self._values = values
        self.boolean("quiet", False, "write nothing but errors: no bars, warnings or logs")

    def _add(self, flag, required=False):
        flags.DEFINE_flag(flag, self._values)
        flag.must_be_given = required
        return flag

    def _parsed(self, parser, name, default, text, required=False):
        flag = flags.Flag(parser, flags.ArgumentSerializer(), name, default, text)
        return self._add(flag, required)

    def string(
        self, name: str, default: str | None, text: str, required: bool = False
    ) -> flags.Flag[Any]:
        """A text."""
        return self._parsed(flags.ArgumentParser(), name, default, text, required)

    def integer(
        self,
        name: str,
        default: int | None,
        text: str,
        low: Limit = -math.inf,
        high: Limit = math.inf,
    ) -> flags.Flag[Any]:
        """A whole number in a range."""
        return self._parsed(Number(int, low, high), name, default, text)

    def float(
        self,
        name: str,
        default: Limit | None,
        text: str,
        low: Limit = -math.inf,
        high: Limit = math.inf,
    ) -> flags.Flag[Any]:
        """A finite number in a range."""
        return self._parsed(Number(float, low, high), name, default, text)

    def list(self, name: str, default: Sequence[str] | None, text: str) -> flags.Flag[Any]:
        """Texts with commas between."""
        return self._parsed(flags.ListParser(), name, default, text)

    def enum(
        self,
        name: str,
        default: str | None,
        choices: Iterable[str],
        text: str,
        required: bool = False,
    ) -> flags.Flag[Any]:
        """One of some texts."""
        return self._add(flags.EnumFlag(name, default, text, list(choices)), required)

    def boolean(self, name: str, default: bool | None, text: str) -> flags.Flag[Any]:
        """--name or --noname."""
        return self._add(flags.BooleanFlag(name, default, text))

    def crowds(self) -> flags.Flag[Any]:
        """--crowds, of every command that reads annotations."""
        return self.enum(
            "crowds",
            "drop",
            ["drop", "objects"],
            "what annotations with iscrowd=1 are: no objects to learn, or objects as all others",
        )

    def on_error(self, others: str) -> flags.Flag[Any]:
        """--on_error of a command that goes on without images that are unreadable.

        Args:
            others: str. What becomes of the other images, after "when".
        """
        return self.enum(
            "on_error",
            "raise",
            ["raise", "skip"],
            f"the status if an image is unreadable, when {others}: 1 (raise) or 0 (skip)",
        )
