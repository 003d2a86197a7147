"""What was done with each array of a checkpoint."""

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Report:
    """Says what was done with each key of a checkpoint.

    Attributes:
        matched: dict from our variables to the file's keys. Keys of a classifier are named as
            inside a detector.
        skipped: dict from the file's keys that were not used to the reason.
        missing: tuple of our variables that the file has no array for. They are not changed.
        adapted: tuple of our variables, the first kernel, if it was adapted from RGB to other
            bands.
    """

    matched: dict[str, str]
    skipped: dict[str, str]
    missing: tuple[str, ...]
    adapted: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"matched {len(self.matched)} arrays"]
        by_reason: dict[str, list[str]] = {}
        for key, reason in self.skipped.items():
            by_reason.setdefault(reason, []).append(key)
        for reason, keys in by_reason.items():
            lines.append(f"skipped {len(keys)} ({reason}): {some(keys)}")
        if self.adapted:
            lines.append(f"adapted {some(self.adapted)} from RGB to the bands of the model")
        if self.missing:
            lines.append(f"left {len(self.missing)} variables unchanged: {some(self.missing)}")
        return "\n".join(lines)


def some(items: Iterable[str], most: int = 3) -> str:
    """Returns the first items, and how many more there are."""
    shown = list(items)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
