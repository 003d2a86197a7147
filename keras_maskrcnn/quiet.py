"""Keeps TensorFlow's start-up notices off stderr in the command and in the examples.

It needs the standard library only: it must run before TensorFlow is imported, and examples load
this file without the package.
"""

import atexit
import contextlib
import logging
import os
import re
import select
import signal
import sys
import time
import warnings
from collections.abc import Sequence

# TensorFlow's C++ code writes lines like `I0000 00:00:1796.32  8989 port.cc:153] ...`, or before
# 2.21 `2026-11-30 07:39:29.47: I tensorflow/core/util/port.cc:153] ...`. I stands for information.
_PLACE = r"(?:{0}\d{{4}} [\d:.]+ +\d+ |\d{{4}}-\d\d-\d\d [\d:.]+: {0} )\S+\.(?:cc|h):\d+\] "
_NOTICE = re.compile(
    "|".join(
        [
            _PLACE.format("I"),
            # Without a GPU; with one but without its driver's library, the number is another.
            _PLACE.format("E") + r"failed call to cuInit: .*(?:\(303\)|CUDA_ERROR_NO_DEVICE)",
            # Said of an operation that has a kernel without oneDNN, and also with AVX-512.
            _PLACE.format("E") + "oneDNN supports DT_INT32 only on platforms with AVX-512",
            # With a GPU, until 2.20: TensorFlow registers its plugins twice.
            _PLACE.format("E") + r"Unable to register cu\w+ factory",
            _PLACE.format("W") + "computation placer already registered",
            # Of graphs with tf.cond; the loop runs as it is.
            _PLACE.format("W") + "Skipping loop optimization for Merge node with control input",
            r"WARNING: All log messages before absl::InitializeLog\(\) is called",
            "To enable the following instructions: .* rebuild TensorFlow with the appropriate",
        ]
    ).encode()
)


def is_asked(argv: Sequence[str]) -> bool:
    """Returns whether a list of flags contains --quiet."""
    return any(re.fullmatch("--?quiet(=(true|t|1))?", flag, re.IGNORECASE) for flag in argv)


def arguments_of_command() -> list[str] | None:
    """Returns the arguments of `keras-maskrcnn` or `python -m keras_maskrcnn`; None if neither."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    # With -m it is "-m" while Python looks for the module, and then the path of the module.
    module = program in ("-m", "__main__.py") and "keras_maskrcnn" in sys.orig_argv
    return sys.argv[1:] if module or program == "keras-maskrcnn" else None


def start_command() -> None:
    """Calls `hide_notices` if this process is the command; call it before TensorFlow's import."""
    arguments = arguments_of_command()
    if arguments is not None:
        if is_asked(arguments):
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # only fatal errors
        hide_notices()


def hide_notices() -> None:
    """Removes TensorFlow's notices from all that this process writes to stderr from now on.

    Settings do not stop all of them (TensorFlow 2.21 writes some before it reads
    TF_CPP_MIN_LOG_LEVEL). So stderr becomes a pipe to a child process that leaves out these lines
    and passes on all others. A child, and not a thread, because it also passes on the last words
    of a process that crashes. TF_CPP_MIN_LOG_LEVEL=0 keeps the notices.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0" or "tensorflow" in sys.modules:
        return
    with contextlib.suppress(AttributeError, OSError):  # no fork, or stderr is closed
        sys.stderr.flush()
        stderr, (source, sink) = os.dup(2), os.pipe()
        # What ends this process must not end the child: it ends when nobody can write any more.
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        child = os.fork()
        if child == 0:
            _filter_and_exit(source, stderr, {0, 1, 2, sink})
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.dup2(sink, 2)
        os.close(source)
        os.close(sink)
        atexit.register(_end, stderr, child)


def _filter_and_exit(source, target, unused):
    """Copies from a pipe until nobody can write to it any more, and ends this process."""
    try:
        for descriptor in unused - {source, target}:  # below 3 if stdin or stdout was closed
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _copy(source, target)
    finally:
        os._exit(0)


def _copy(source, target):
    """Copies lines that are no notices. The start of a line waits 0.1 s for its end."""
    pending, begun, more = b"", False, True  # begun: the start of this line is written already
    while more:
        ended = bool(pending) and not select.select([source], [], [], 0.1)[0]
        data = b"" if ended else os.read(source, 1 << 16)
        more = ended or bool(data)
        *lines, pending = re.split(rb"(?<=[\r\n])", pending + data)  # progress bars write \r
        kept = []
        for line in lines:
            if begun or not _NOTICE.match(line):
                kept.append(line)
            begun = False
        if not data and pending:
            kept.append(pending)
            pending, begun = b"", True
        text = b"".join(kept)
        while text:
            text = text[os.write(target, text) :]


def _end(stderr, child):
    """Gives stderr back, and waits until the child has written all."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
        os.dup2(stderr, 2)
        for _ in range(100):  # a second: a process that we started may still hold the pipe
            if os.waitpid(child, os.WNOHANG)[0]:
                break
            time.sleep(0.01)


def silence() -> None:
    """Drops warnings and logs of this process, also those of libraries."""
    from absl import logging as absl_logging

    warnings.simplefilter("ignore")
    absl_logging.set_verbosity(absl_logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
