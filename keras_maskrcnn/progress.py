"""Prints how far a long job is, and how long the rest will take.

It does without Keras, whose bar does the same, because `runtime` works where Keras is not
installed.
"""

import time

_SECONDS = 30.0  # between two lines in a log


class Progress:
    """The progress of a job.

    Args:
        total: int. Number of steps; None if unknown, as for a live stream.
        unit: str. Name of one step, in the singular.
        verbose: int. 0: silent. 1: one line that changes, for a terminal. 2: a new line every half
            minute, for a log.
        done: int. Steps that an earlier run did. They do not count for the time left.
    """

    def __init__(self, total: int | None, unit: str, verbose: int = 1, done: int = 0) -> None:
        self._total, self._unit, self._verbose = total, unit, verbose
        self._first, self._begin, self._shown = done, time.monotonic(), 0.0

    def update(self, done: int, last: bool | None = None) -> None:
        """Prints the state after `done` steps.

        Args:
            done: int.
            last: bool. Whether this ends the line. None: if `total` is reached.
        """
        now = time.monotonic()
        if last is None:
            last = self._total is not None and done >= self._total
        if self._verbose == 1:
            print(f"\r{self._text(done, now, last)}", end="\n" if last else "", flush=True)
        elif self._verbose and (last or now - self._shown >= _SECONDS):
            print(self._text(done, now, last), flush=True)
            self._shown = now

    def _text(self, done, now, last):
        spent, steps = now - self._begin, done - self._first
        if last or self._total is None:
            rest = f"{_clock(spent)} in all"
        else:
            left = max(self._total - done, 0)
            rest = f"{_clock(spent / steps * left)} left" if steps else "..."
        of = "" if self._total is None else f"/{max(self._total, done)}"
        text = f"{done}{of} {self._unit}s, {rest}"
        return text.ljust(40) if self._verbose == 1 else text  # covers a longer text


def _clock(seconds):
    """Returns a duration as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
