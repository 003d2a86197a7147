"""Asks a question whose answer may be unknown."""

from collections.abc import Callable
from typing import Any

UNKNOWN = "unknown"


def ask(question: Callable[[], Any]) -> Any:
    """Returns what a function without arguments returns, or "unknown" if it fails in any way."""
    try:
        return question()
    except Exception:  # a report is for installations that are broken in ways nobody foresaw
        return UNKNOWN
