"""Repeats a program whose workers may be killed, until it has finished."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

TEMPORARY = 75
"""Exit status of an attempt that may be repeated: EX_TEMPFAIL of sysexits.h."""

_ATTEMPT = "KERAS_MASKRCNN_ATTEMPT"  # set in the environment of an attempt
_WATCHER = "run_worker"  # name of the threads with which Beam's direct runner watches its workers


def repeated(job: Callable[[], object], attempts: int) -> int:
    """Does a job in a process of its own, which runs this same program, and repeats it.

    The job must continue where it was stopped. An error of its input (ValueError) ends it with one
    line. Any other error, a lost worker and a killed process lead to the next attempt.

    Args:
        job: function without arguments.
        attempts: int, at least 1.

    Returns:
        The exit status for this process.

    Raises:
        ValueError: if `attempts` is less than 1.
    """
    if _ATTEMPT not in os.environ:
        return run([sys.executable, *sys.orig_argv[1:]], attempts)
    _end_if_a_worker_ends()
    try:
        job()
    except (ValueError, ImportError, FileNotFoundError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    except Exception as error:  # a runner raises anything
        logging.error("%s", str(error) or type(error).__name__)
        return TEMPORARY
    return 0


def run(command: Sequence[str], attempts: int) -> int:
    """Runs a program until it ends, unless it fails in a way that a repetition would not mend.

    A program is repeated if it exits with `TEMPORARY`, or is killed by a signal. The processes that
    it started are killed with it, so that those of two attempts never run at once.

    Args:
        command: sequence of str. The program and its arguments.
        attempts: int, at least 1.

    Returns:
        The last exit status; 128 + the signal's number if it was killed.

    Raises:
        ValueError: if `attempts` is less than 1.
    """
    if attempts < 1:
        raise ValueError(f"attempts must be at least 1. Received: attempts={attempts}.")
    status = 0
    for attempt in range(1, attempts + 1):
        environment = {**os.environ, _ATTEMPT: str(attempt)}
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        with _ended_with_this_process(process):
            # The id stays this process's until its group is killed.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        status = process.wait()
        if status != TEMPORARY and status >= 0:
            return status
        reason = f"was killed by signal {-status}" if status < 0 else "failed"
        logging.warning("Attempt %d of %d %s.", attempt, attempts, reason)
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _ended_with_this_process(process):
    """Kills a process and all that it started at the end of the block, also by Ctrl+C or SIGTERM.

    They have a session of their own, which no signal to this process reaches.
    """
    before = None
    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _end_if_a_worker_ends():
    """Ends this process with `TEMPORARY` as soon as a worker of Beam's direct runner fails.

    The runner waits for ever for a worker that was killed. All that it does then is to raise an
    error in the thread that watches this worker.
    """

    def end(failure: Any) -> None:
        name, error = getattr(failure.thread, "name", "?"), failure.exc_value
        if name != _WATCHER:  # other threads also end when a worker is lost
            logging.error("Thread %s ended: %r", name, error)
            return
        logging.error("A worker was lost: %s", error)
        logging.flush()
        os._exit(TEMPORARY)

    threading.excepthook = end
